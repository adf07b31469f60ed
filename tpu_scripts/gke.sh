#!/usr/bin/env bash
# Runs skilljax on a TPU slice of GKE, as a JobSet. See tpu_scripts/README.md.
#
#   gke.sh [--dry-run] setup               build the image of this commit and push it
#   gke.sh [--dry-run] render COMMAND...   print the manifest
#   gke.sh [--dry-run] create COMMAND...   start COMMAND on all hosts of a slice
#   gke.sh [--dry-run] status              of the JobSet and of its pods
#   gke.sh [--dry-run] logs [HOST|all]     follow one host (0), or the end of all
#   gke.sh [--dry-run] resume COMMAND...   start it again where it has failed or is gone
#   gke.sh [--dry-run] delete              end it; the work folder stays
# shellcheck disable=SC2329  # "$action" calls
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
begin GKE "setup render create status logs resume delete"

GKE_NAMESPACE="${GKE_NAMESPACE:-default}"
GKE_CONTEXT="${GKE_CONTEXT-}"
GKE_ACCELERATOR="${GKE_ACCELERATOR:-tpu-v5-lite-podslice}"
GKE_TOPOLOGY="${GKE_TOPOLOGY:-2x4}"
GKE_MOUNT="${GKE_MOUNT:-/mnt/runs}"
GKE_SPOT="${GKE_SPOT:-0}"
GKE_MAX_RESTARTS="${GKE_MAX_RESTARTS:-10}"
GKE_EXTRAS="${GKE_EXTRAS-}"
GKE_ENV="${GKE_ENV-}"
# In the image, whose folder is the checkout.
host=/skilljax/tpu_scripts/host.sh

check_image() {
  required GKE_IMAGE "the image with its registry, which 'setup' pushes"
  shaped GKE_IMAGE '[A-Za-z0-9./:@_-]+' "an image, for example REGISTRY/skilljax:1"
  extras GKE_EXTRAS
}

check_name() {
  required GKE_NAME "the name of the JobSet"
  shaped GKE_NAME '[a-z]([-a-z0-9]{0,38}[a-z0-9])?' "a-z, 0-9 and -, at most 40"
}

# Sets $hosts. GKE_CHIPS is of one host.
check_slice() {
  local flat="1x1 2x2 2x4 4x4 4x8 8x8 8x16 16x16" deep="2x2x1 2x2x2 2x2x4 2x4x4"
  local number='[1-9][0-9]{0,2}' of_host=4 x y z
  one_of GKE_ACCELERATOR tpu-v4-podslice tpu-v5-lite-podslice tpu-v5p-slice \
    tpu-v6e-slice tpu7x
  # shellcheck disable=SC2086
  case "$GKE_ACCELERATOR" in
    tpu-v5-lite-podslice | tpu-v6e-slice) one_of GKE_TOPOLOGY $flat ;;
    *) shaped GKE_TOPOLOGY "${number}x${number}x$number" "$deep, 4x4x4, 4x4x8, …" ;;
  esac
  IFS=x read -r x y z <<<"$GKE_TOPOLOGY"
  case " $flat $deep " in
    *" $GKE_TOPOLOGY "*) ;;
    *)
      [ $((x % 4 + y % 4 + z % 4)) = 0 ] ||
        die "GKE_TOPOLOGY is '$GKE_TOPOLOGY'; needed: $deep, or three multiples of 4"
      ;;
  esac
  case "$GKE_TOPOLOGY" in
    1x1) of_host=1 ;;
    2x4) of_host="4 8" ;; # the one slice that is made of either kind of host
  esac
  GKE_CHIPS="${GKE_CHIPS:-${of_host% *}}"
  # shellcheck disable=SC2086
  one_of GKE_CHIPS $of_host
  hosts=$((x * y * ${z:-1} / GKE_CHIPS))
}

# All that the manifest is made of.
check_run() {
  wants_command "$action python -m x --config=… --workdir=$GKE_MOUNT/…" "$@"
  check_name
  check_slice
  check_image
  required GKE_PVC "the volume claim with the work folder, which outlives the pods"
  shaped GKE_PVC '[a-z0-9]([-a-z0-9.]*[a-z0-9])?' "the name of a volume claim"
  shaped GKE_MOUNT '/[A-Za-z0-9._/-]+' "a path in the pods"
  one_of GKE_SPOT 0 1
  whole GKE_MAX_RESTARTS 0
  assignments GKE_ENV
}

# json TEXT: a JSON string in $string. Kubernetes reads $$ as $, and $(A) as a variable.
json() {
  local text="$1" letter i
  string=
  for ((i = 0; i < ${#text}; i++)); do
    letter="${text:i:1}"
    case "$letter" in
      '"' | \\) string="$string\\$letter" ;;
      '$') string="$string\$\$" ;;
      $'\n') string="$string\\n" ;;
      $'\t') string="$string\\t" ;;
      [[:cntrl:]]) die "a manifest cannot hold the control character in the command" ;;
      *) string="$string$letter" ;;
    esac
  done
  string="\"$string\""
}

render() {
  local line name value word command="" env=""
  for word in "$host" "$@"; do
    json "$word"
    command="$command, $string"
  done
  set -f
  for word in $GKE_ENV; do
    json "${word#*=}"
    env="$env, {name: \"${word%%=*}\", value: $string}"
  done
  set +f
  while IFS= read -r line; do
    case "$line" in
      '#'*) continue ;;
      *'#slice# '*)
        [ "$hosts" -gt 1 ] || continue
        line="${line%%#slice# *}${line#*#slice# }"
        ;;
      *'#spot# '*)
        [ "$GKE_SPOT" = 1 ] || continue
        line="${line%%#spot# *}${line#*#spot# }"
        ;;
      *@*@*)
        name="${line#*@}"
        name="${name%%@*}"
        case "$name" in
          NAME) value="$GKE_NAME" ;;
          HOSTS) value="$hosts" ;;
          COMMAND) value="[${command#, }]" ;;
          ENV) value="[${env#, }]" ;;
          *) value="GKE_$name" && value="${!value}" ;;
        esac
        line="${line%%@"$name"@*}$value${line#*@"$name"@}"
        ;;
    esac
    printf '%s\n' "$line"
  done <"$here/jobset.yaml"
}

kube() {
  kubectl_words=(kubectl --namespace "$GKE_NAMESPACE")
  [ -z "$GKE_CONTEXT" ] || kubectl_words+=(--context "$GKE_CONTEXT")
  kubectl_words+=("$@")
}

explain() {
  advise "$1" <<TABLE
2~JobSet|resource type "jobset~the cluster needs a newer JobSet; see the README
2~logged in|Unauthorized|auth-plugin~log in: gcloud auth login
2~to connect|refused|-context~no cluster; gcloud container clusters get-credentials
2~Forbidden|forbidden~you may not do this in the namespace '$GKE_NAMESPACE'
2~AlreadyExists|already exists~'$GKE_NAME' exists; 'delete' it, or change GKE_NAME
2~namespaces? .* not found~there is no namespace '$GKE_NAMESPACE'; set GKE_NAMESPACE
1~NotFound|not found~'$GKE_NAME' is not there; 'create' makes it
TABLE
}

setup() {
  push_image "$GKE_IMAGE" "$GKE_EXTRAS"
}

create() {
  kube create --filename -
  input="$scratch/manifest"
  render "$@" >"$input"
  if [ "$dry_run" = 1 ]; then
    echo "$(quoted "${kubectl_words[@]}") <<'END'"
    cat "$input"
    echo END
  else
    noted "${kubectl_words[@]}" || explain create
  fi
  input=/dev/null
}

# absent, running, finished or failed, in $now.
look() {
  local kind end
  kube get jobset "$GKE_NAME" --ignore-not-found \
    --output 'jsonpath={.kind}/{.status.terminalState}/{.status.restarts}'
  if [ "$dry_run" = 1 ]; then
    again "${kubectl_words[@]}"
    now=failed # so that a dry run shows the longest way
    return 0
  fi
  quietly again "${kubectl_words[@]}" || explain status
  IFS=/ read -r kind end restarts <<<"$(cat "$scratch/answer")"
  case "$kind/$end" in
    /) now=absent ;;
    */Completed) now=finished ;;
    */Failed) now=failed ;;
    *) now=running ;;
  esac
}

status() {
  look
  [ "$dry_run" = 1 ] || echo "run: $now, restarts: ${restarts:-0}"
  [ "$now" != absent ] || return 0
  kube get pods --selector "jobset.sigs.k8s.io/jobset-name=$GKE_NAME" --output wide
  again "${kubectl_words[@]}" || explain status
}

logs() {
  kube
  pod_logs "$GKE_NAME" "${1:-0}" "${kubectl_words[@]}" || explain logs
}

# A preempted slice needs nothing: the JobSet starts it again by itself.
resume() {
  look
  case "$now" in
    running) say "'$GKE_NAME' is there, and starts again by itself; see 'status'" ;;
    finished) say "'$GKE_NAME' has finished; 'delete' it to run something else" ;;
    failed)
      delete
      create "$@"
      ;;
    absent) create "$@" ;;
  esac
}

delete() {
  kube delete jobset "$GKE_NAME" --ignore-not-found
  noted "${kubectl_words[@]}" || explain delete
}

case "$action" in
  setup) check_image ;;
  render | create | resume) check_run "$@" ;;
  *) check_name ;;
esac
case "$action" in
  setup | render) ;;
  *) needs kubectl "see https://kubernetes.io/docs/tasks/tools" ;;
esac
"$action" "$@"
