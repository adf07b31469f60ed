# Shared by the launchers here: sourced with their arguments, never run.
#
# bash 3.2, which macOS has, is enough: no associative arrays, no change of case, and an
# empty array is expanded behind a guard, because set -u takes it for an unset variable.
# Exit status: 1 where something failed, 2 where the call or a setting is wrong.
# shellcheck shell=bash disable=SC2034  # the launchers read what is set here
set -euo pipefail

me="$(basename "$0")"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(dirname "$here")"

dry_run=0
if [ "${1-}" = "--dry-run" ]; then
  dry_run=1
  shift
fi
action="${1-help}"
[ $# -eq 0 ] || shift

# For what is on its way between commands: standard error of the last one, a bundle.
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

say() {
  echo "$me: $*" >&2
}

fail() {
  say "$@"
  exit 1
}

die() {
  say "$@"
  exit 2
}

# The verbs stand in the launcher's header, the settings in the README's tables.
usage() {
  sed -n '2,/^[^#]/{/^# shellcheck/d;s/^# \{0,1\}//p;}' "$0"
  echo "Settings, from the environment:"
  sed -n "s/^| \`\($1_[A-Z_]*\)\` | \(.*\) | \(.*\) |\$/  \1: \2 [\3]/p" "$here/README.md"
}

# begin PREFIX VERBS: help, or the check of the verb.
begin() {
  case "$action" in
    help | -h | --help)
      usage "$1"
      exit 0
      ;;
  esac
  case " $2 " in
    *" $action "*) ;;
    *) die "unknown action '$action'; one of $2" ;;
  esac
}

# required NAME WHAT
required() {
  [ -n "${!1-}" ] || die "$1 is not set: $2"
}

# one_of NAME VALUE...
one_of() {
  local name="$1" value
  shift
  for value in "$@"; do
    [ "${!name}" != "$value" ] || return 0
  done
  die "$name is '${!name}'; one of: $*"
}

# whole NAME LOWEST
whole() {
  case "${!1}" in
    '' | *[!0-9]* | ??????????*) ;;
    *) [ "${!1}" -lt "$2" ] || return 0 ;;
  esac
  die "$1 is '${!1}'; a whole number from $2 is needed"
}

# shaped NAME PATTERN WHAT
shaped() {
  local pattern="^($2)\$" # unquoted below, in a variable: the only way in all versions
  [[ "${!1}" =~ $pattern ]] || die "$1 is '${!1}'; needed: $3"
}

# assignments NAME: 'A=1 B=2' or nothing.
assignments() {
  local word pattern='^[A-Za-z_][A-Za-z0-9_]*='
  for word in ${!1}; do
    [[ "$word" =~ $pattern ]] ||
      die "$1 is '${!1}'; needed: NAME=VALUE words, for example 'A=1 B=2'"
  done
}

# extras NAME: 'alfworld,webshop' or nothing.
extras() {
  shaped "$1" '([a-z][a-z-]*(,[a-z][a-z-]*)*)?' "extras of setup.py, 'alfworld,webshop'"
}

# wants_command EXAMPLE "$@"
wants_command() {
  [ $# -gt 1 ] || die "$action needs a command, for example: $1"
}

# needs TOOL WHERE_FROM
needs() {
  [ "$dry_run" = 1 ] || command -v "$1" >/dev/null || die "'$1' is not installed: $2"
}

# A git bundle of the commit, in $bundle: a checkpoint names the commit it was made with,
# and uncommitted changes have no name. Made once, so that all machines get the same one.
make_bundle() {
  local changed
  [ "$bundled" = 0 ] || return 0
  changed="$(git -C "$root" status --porcelain --untracked-files=no 2>/dev/null)" ||
    die "$root is no git checkout: clone the repository, the workers get a commit of it"
  [ -z "$changed" ] ||
    die "commit your changes first: the workers get the committed state only"
  do_it mkdir -p "$(dirname "$bundle")"
  do_it git -C "$root" bundle create --quiet "$bundle" HEAD || fail "git bundle failed"
  bundled=1
}
bundled=0
bundle="$scratch/context/skilljax.bundle"

# The words as text that any shell reads back as the same words.
quoted() {
  local word out="" quote="'"
  for word in "$@"; do
    case "$word" in
      '' | *[!A-Za-z0-9_./:=,@%+-]*)
        out="$out $quote"
        while [ "$word" != "${word#*"$quote"}" ]; do
          out="$out${word%%"$quote"*}'\\''"
          word="${word#*"$quote"}"
        done
        out="$out$word$quote"
        ;;
      *) out="$out $word" ;;
    esac
  done
  printf '%s' "${out# }"
}

# Runs a command, or prints it where this is a dry run.
do_it() {
  if [ "$dry_run" = 1 ]; then
    quoted "$@"
    echo
  else
    "$@"
  fi
}

# do_it, with standard error shown and kept in $scratch/errors. Input only from $input.
noted() {
  hidden=0
  { do_it "$@" 2>&1 >&3 3>&- <"$input" | tee "$scratch/errors" >&2; } 3>&1
}

input=/dev/null
hidden=0 # 1 where those errors were not shown

errors_have() {
  grep -Eq -- "$1" "$scratch/errors"
}

# What a failed command had to say: its first line with ERROR, else its last line.
what_went_wrong() {
  local line
  line="$(grep -m 1 -i '^error' "$scratch/errors" ||
    sed -n '/[^[:space:]]/p' "$scratch/errors" | tail -n 1)"
  echo "${line:-it gave no reason}"
}

# advise WHAT, with lines STATUS~PATTERN~ADVICE on standard input: the end, with the
# advice of the first pattern that $scratch/errors has, else with what stands there.
advise() {
  local status pattern advice
  while IFS='~' read -r status pattern advice; do
    if errors_have "$pattern"; then
      say "$1 failed: $advice"
      exit "$status"
    fi
  done
  fail "$1 failed: $(what_went_wrong)"
}

# Of the network or of a service; asking again helps.
passing='UNAVAILABLE|DEADLINE_EXCEEDED|INTERNAL|HttpError 5[0-9][0-9]'
passing="$passing|[Tt]imed out|[Tt]imeout|[Cc]onnection (reset|refused|aborted|closed)"
passing="$passing|Temporary failure|Could not resolve|Network is unreachable"
passing="$passing|TLS handshake|EOF occurred"

# noted, again after a growing pause where the failure is a passing one. Only for commands
# that may be run twice. 255 is what ssh ends with where it does not reach a worker.
again() {
  local attempt=1 pause="$pause_s" status
  while true; do
    status=0
    noted "$@" || status=$?
    if [ "$status" = 0 ]; then return 0; fi
    if [ "$attempt" -ge "$tries" ]; then return "$status"; fi
    if [ "$status" != 255 ] && ! errors_have "$passing"; then return "$status"; fi
    say "attempt $attempt of $tries failed; the next in $pause s"
    sleep "$pause"
    attempt=$((attempt + 1))
    pause=$((pause * 2))
  done
}
tries=4
pause_s=5

# Out of sight, with standard output in $scratch/answer.
quietly() {
  local status=0
  "$@" >"$scratch/answer" 2>/dev/null || status=$?
  hidden=1
  return "$status"
}

# For GKE, with xpk or without: the image, and the logs of pods.

# push_image IMAGE EXTRAS
push_image() {
  needs docker "see https://docs.docker.com/engine/install"
  make_bundle
  noted docker build --platform linux/amd64 --file "$here/Dockerfile" --tag "$1" \
    --build-arg "EXTRAS=tpu${2:+,$2}" "$scratch/context" || fail "docker build failed: $(what_went_wrong)"
  noted docker push "$1" ||
    fail "docker push failed: $(what_went_wrong); see gcloud auth configure-docker"
}

# pod_logs JOBSET HOST|all KUBECTL...
pod_logs() {
  local pods="jobset.sigs.k8s.io/jobset-name=$1" who="$2"
  shift 2
  shaped who '[0-9]+|all' "logs of a host's number, or of all"
  if [ "$who" = all ]; then
    noted "$@" logs --selector "$pods" --all-containers --prefix --tail 100
  else
    pods="$pods,batch.kubernetes.io/job-completion-index=$who"
    noted "$@" logs --selector "$pods" --all-containers --tail 100 --follow
  fi
}
