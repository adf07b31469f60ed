#!/usr/bin/env bash
# Runs skilljax on a Cloud TPU VM or pod slice. See tpu_scripts/README.md.
#
#   launch.sh [--dry-run] create              make the TPU VM, or queue for one and wait
#   launch.sh [--dry-run] wait                go on waiting for it
#   launch.sh [--dry-run] setup               copy this commit to all workers, install,
#                                             mount the bucket, run the hook
#   launch.sh [--dry-run] run COMMAND...      start COMMAND on all workers, detached
#   launch.sh [--dry-run] resume COMMAND...   after a preemption: create, setup, run
#   launch.sh [--dry-run] keep COMMAND...     run, and resume until COMMAND has finished
#   launch.sh [--dry-run] status              of the machine and of the run
#   launch.sh [--dry-run] logs [WORKER|all]   follow one worker (0), or the end of all
#   launch.sh [--dry-run] stop                end the run, keep the machine
#   launch.sh [--dry-run] delete              end the machine and its cost
# shellcheck disable=SC2016,SC2329  # text for the workers' shells; "$action" calls
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
begin TPU "create wait setup run resume keep status logs stop delete"

required TPU_NAME "the name of the TPU VM"
required TPU_ZONE "for example us-east5-b"
TPU_PROJECT="${TPU_PROJECT-}"
TPU_TYPE="${TPU_TYPE:-v5litepod-8}"
TPU_SPOT="${TPU_SPOT:-0}"
TPU_QUEUED="${TPU_QUEUED:-0}"
TPU_PYTHON="${TPU_PYTHON:-python3.11}"
TPU_EXTRAS="${TPU_EXTRAS-}"
TPU_BUCKET="${TPU_BUCKET-}"
TPU_MOUNT="${TPU_MOUNT:-/mnt/runs}"
TPU_HOOK="${TPU_HOOK-}"
TPU_ENV="${TPU_ENV-}"
TPU_WAIT="${TPU_WAIT:-21600}"
TPU_POLL="${TPU_POLL:-60}"
TPU_ATTEMPTS="${TPU_ATTEMPTS:-20}"
case "$TPU_TYPE" in
  v6e-*) image=v2-alpha-tpuv6e ;;
  v5p-*) image=v2-alpha-tpuv5 ;;
  v5litepod-*) image=v2-alpha-tpuv5-lite ;;
  v2-* | v3-* | v4-*) image=tpu-ubuntu2204-base ;;
  *) image= ;;
esac
TPU_IMAGE="${TPU_IMAGE:-$image}"
shaped TPU_NAME '[a-z]([-a-z0-9]{0,61}[a-z0-9])?' "a small letter, then a-z, 0-9 and -"
shaped TPU_TYPE '[a-z0-9]+-[0-9]+' "an accelerator type, for example v5litepod-8"
shaped TPU_PYTHON '[A-Za-z0-9./_-]+' "an interpreter, for example python3.11"
required TPU_IMAGE "the runtime version that fits TPU_TYPE '$TPU_TYPE'"
one_of TPU_SPOT 0 1
one_of TPU_QUEUED 0 1
whole TPU_WAIT 1
whole TPU_POLL 1
whole TPU_ATTEMPTS 1
assignments TPU_ENV
extras TPU_EXTRAS
shaped TPU_BUCKET '([a-z0-9][a-z0-9._-]+)?' "the name of a bucket, without gs://"
shaped TPU_MOUNT '/[A-Za-z0-9._/-]+' "a path on the workers"
[ -z "$TPU_HOOK" ] || [ -f "$TPU_HOOK" ] || die "TPU_HOOK is '$TPU_HOOK'; no such file"
example="$action python -m experiments.train --config=… --workdir=…"
needs gcloud "see https://cloud.google.com/sdk/docs/install"

spot=()
[ "$TPU_SPOT" = 0 ] || spot=(--spot)
worker=skilljax/tpu_scripts/worker.sh
now="" # what the machine or the run was when last looked at

# gcloud compute tpus GROUP VERB … with the place filled in.
tpus() {
  local place=(--zone "$TPU_ZONE")
  [ -z "$TPU_PROJECT" ] || place+=(--project "$TPU_PROJECT")
  gcloud_words=(gcloud compute tpus "$@" "${place[@]}")
}

# Things that must not happen twice are asked for once, the others up to $tries times.
once() {
  tpus "$@"
  noted "${gcloud_words[@]}"
}

repeat() {
  tpus "$@"
  again "${gcloud_words[@]}"
}

# explain WHAT: one line that says what to do about $scratch/errors, and the end. Status 2
# means that `keep` need not try again.
explain() {
  local failed
  if errors_have 'a run is already going'; then
    die "$1 failed: a run is already going; 'stop' ends it, 'logs' shows it"
  elif errors_have 'is not set up'; then
    die "$1 failed: the workers have no skilljax yet; 'setup' brings it"
  elif errors_have 'exited with return code .255'; then
    fail "$1 failed: no ssh to a worker; see ssh-add, and port 22 in the firewall"
  elif ! errors_have '^ERROR'; then # not gcloud's failure, so that of a worker
    failed="$(sed -n 's/.*on worker \([0-9]*\) failed with exit status .*/\1/p' \
      "$scratch/errors" | sort -nu | tr '\n' ' ' | sed 's/ $//')"
    [ "$hidden" = 0 ] || cat "$scratch/errors" >&2
    fail "$1 failed on worker ${failed:-0}; what it says is above"
  fi
  advise "$1" <<TABLE
2~gcloud auth login|active account|[Rr]eauth|invalid_grant~log in: gcloud auth login
2~attribute .project.|core/project~no project; set TPU_PROJECT
2~SERVICE_DISABLED|has not been used~run gcloud services enable tpu.googleapis.com
2~PERMISSION_DENIED|not have permission~you need the role roles/tpu.admin in the project
2~in the SSH agent|publickey~ssh refuses the key; run ssh-add ~/.ssh/google_compute_engine
2~ALREADY_EXISTS|already exists~'$TPU_NAME' exists; 'delete' it, or change TPU_NAME
2~NOT_FOUND|not found~$TPU_ZONE has no '$TPU_NAME', or no such type; 'create' makes it
1~capacity~$TPU_ZONE has no $TPU_TYPE left now; TPU_QUEUED=1 waits, or change TPU_ZONE
1~[Qq]uota|RESOURCE_EXHAUSTED~no quota for $TPU_TYPE in $TPU_ZONE; ask for more
1~terminal state|cannot be currently~the machine is gone; 'resume' makes it again
TABLE
}

# The state of the request (where there is one) or of the machine, in $now.
look() {
  if [ "$TPU_QUEUED" = 1 ]; then
    ask queued-resources 'value(state.state)' || return 1
    if [ "$dry_run" = 0 ] && [ "$now" != ACTIVE ]; then return 0; fi
  fi
  ask tpu-vm 'value(state)' || return 1
  # A request that was served stays active for a while after its machine has gone.
  if [ "$TPU_QUEUED$now" = 1ABSENT ]; then now=SUSPENDED; fi
}

ask() {
  if [ "$dry_run" = 1 ]; then
    repeat "$1" describe "$TPU_NAME" --format "$2"
    now=PREEMPTED # so that a dry run shows the longest way
  elif quietly repeat "$1" describe "$TPU_NAME" --format "$2"; then
    now="$(cat "$scratch/answer")"
  elif errors_have NOT_FOUND; then
    now=ABSENT
  else
    now=unreachable
    return 1
  fi
}

phase() {
  case "$now" in
    READY) echo ready ;;
    ABSENT) echo absent ;;
    PREEMPTED | TERMINATED | SUSPENDED | FAILED) echo gone ;;
    CREATING | STARTING | RESTARTING | REPAIRING | REIMAGING | DELETING) echo busy ;;
    ACCEPTED | WAITING_FOR_RESOURCES | PROVISIONING | SUSPENDING) echo busy ;;
    *) echo odd ;;
  esac
}

# Until the machine or the request is in a state that stays.
settle() {
  local waited=0 before=
  look || explain describe
  while [ "$(phase)" = busy ]; do
    [ "$now" = "$before" ] || say "'$TPU_NAME' is $now; waiting, at most $TPU_WAIT s"
    before="$now"
    [ "$waited" -lt "$TPU_WAIT" ] ||
      fail "'$TPU_NAME' is still $now after $waited s; 'wait' goes on, 'delete' gives up"
    sleep "$TPU_POLL"
    waited=$((waited + TPU_POLL))
    look || explain describe
  done
}

wait_ready() {
  [ "$dry_run" = 0 ] || echo "# every $TPU_POLL s until it is ready, at most $TPU_WAIT s:"
  settle
  if [ "$dry_run" = 1 ] || [ "$now" = READY ]; then return 0; fi
  [ "$now" != ABSENT ] || fail "there is no '$TPU_NAME' in $TPU_ZONE; 'create' makes it"
  if [ "$now" = FAILED ] &&
    quietly repeat queued-resources describe "$TPU_NAME" \
      --format 'value(state.failedData.error.message)'; then
    say "the request was refused: $(cat "$scratch/answer")"
  fi
  fail "'$TPU_NAME' is $now, so it will not become ready; 'delete' it, then 'create'"
}

create() {
  if [ "$TPU_QUEUED" = 0 ]; then
    once tpu-vm create "$TPU_NAME" --accelerator-type "$TPU_TYPE" --version "$TPU_IMAGE" \
      "${spot[@]+"${spot[@]}"}" || explain create
    return 0
  fi
  # A request that is served when nobody waits any more would only cost.
  once queued-resources create "$TPU_NAME" --node-id "$TPU_NAME" \
    --accelerator-type "$TPU_TYPE" --runtime-version "$TPU_IMAGE" \
    --valid-until-duration "${TPU_WAIT}s" "${spot[@]+"${spot[@]}"}" || explain create
  wait_ready
}

delete() {
  local what=(tpu-vm delete "$TPU_NAME" --quiet)
  [ "$TPU_QUEUED" = 0 ] || what=(queued-resources delete "$TPU_NAME" --force --quiet)
  if once "${what[@]}"; then return 0; fi
  errors_have NOT_FOUND || explain delete
  say "there was nothing to delete"
}

setup() {
  local hook=""
  make_bundle
  repeat tpu-vm scp "$bundle" "$TPU_NAME:skilljax.bundle" --worker all || explain setup
  if [ -n "$TPU_HOOK" ]; then
    hook=../skilljax.hook
    repeat tpu-vm scp "$TPU_HOOK" "$TPU_NAME:skilljax.hook" --worker all || explain setup
  fi
  # shellcheck disable=SC2086  # TPU_ENV holds words
  repeat tpu-vm ssh "$TPU_NAME" --worker all --command "set -e
if [ -x $worker ] && $worker busy; then echo 'a run is already going' >&2; exit 9; fi
mkdir -p skilljax
cd skilljax
rm -f .installed
git init -q
git fetch -q ~/skilljax.bundle HEAD
git checkout -q -f FETCH_HEAD
cd ..
$worker install $TPU_PYTHON tpu${TPU_EXTRAS:+,$TPU_EXTRAS} '$TPU_BUCKET' $TPU_MOUNT \
  '$hook' $(set -f && quoted $TPU_ENV)" || explain setup
}

# workers WHO VERB ARGUMENTS...: worker.sh on WHO.
workers() {
  local who="$1" without='echo "$(hostname) is not set up" >&2; exit 8'
  shift
  case "$1" in
    state) without='echo "$(hostname): bare"; exit 0' ;;
    stop) without='exit 0' ;;
  esac
  repeat tpu-vm ssh "$TPU_NAME" --worker "$who" \
    --command "[ -x $worker ] || { $without; }; $worker $(quoted "$@")"
}

# The run on all workers in one word, the worst first, in $now; $where is its first line.
look_at_run() {
  if quietly workers all state "$@"; then
    for now in other bare lost failed left idle running finished; do
      if where="$(grep -m 1 -E "^[^ ]+: $now" "$scratch/answer")"; then return 0; fi
    done
  fi
  now=unreachable
}

run() {
  local id
  wants_command "$example" "$@"
  id="$(date +%Y%m%d-%H%M%S)-$$"
  if workers all start "$id" "$@"; then return 0; fi
  # Those that did start would wait for the others.
  cp "$scratch/errors" "$scratch/first"
  workers all stop "$id" >/dev/null 2>&1 || say "and the workers could not be stopped"
  mv "$scratch/first" "$scratch/errors"
  explain run
}

# Checkpoints make the run itself resumable: the same command goes on where it was. So
# resuming is only a matter of having machines again, with what the command needs.
resume() {
  wants_command "$example" "$@"
  settle
  case "$(phase)" in
    absent)
      make_bundle # before there is a machine that costs
      create
      setup
      ;;
    gone)
      make_bundle
      delete
      create
      setup
      ;;
    ready) tidy "$@" ;;
    *) die "'$TPU_NAME' is $now; start it, or 'delete' it" ;;
  esac
  run "$@"
}

# A machine that is there: is it set up, and is it free?
tidy() {
  look_at_run "$@"
  case "$now" in
    bare)
      workers all stop || explain stop
      setup
      ;;
    running | other) die "a run is already going; 'stop' ends it, 'logs' shows it" ;;
    unreachable) explain ssh ;;
    *) workers all stop || explain stop ;; # one worker lost: the others still run
  esac
}

# Goes on until the command has ended by itself. A command that fails is not repeated: it
# would fail again. But a preemption may first look like that, hence more looks. Hosts that
# left because of another one say nothing of the command; that one may still be ending.
keep() {
  local attempt=0 odd=0 ours=0 status
  wants_command "$example" "$@"
  make_bundle
  if [ "$dry_run" = 1 ]; then
    echo "# every $TPU_POLL s a look, and after each preemption, $TPU_ATTEMPTS times:"
    resume "$@"
    return 0
  fi
  while true; do
    if look && [ "$now" = READY ]; then look_at_run "$@"; fi
    if [ "$(phase)" = busy ] && (settle); then continue; fi # the run may have outlived it
    case "$now:$ours" in
      finished:*)
        say "the command has finished; 'delete' ends the cost of '$TPU_NAME'"
        return 0
        ;;
      running:*)
        ours=1 odd=0
        sleep "$TPU_POLL"
        continue
        ;;
      other:*) die "another command is running on '$TPU_NAME'; 'stop' it first" ;;
      left:1)
        odd=$((odd + 1))
        if [ "$odd" -lt 2 ]; then
          sleep "$TPU_POLL"
          continue
        fi
        ;;
      failed:1 | unreachable:*)
        odd=$((odd + 1))
        if [ "$now" = unreachable ]; then
          status=0
          (explain "looking at '$TPU_NAME'") || status=$?
          if [ "$status" = 2 ] || [ "$odd" -ge "$TPU_ATTEMPTS" ]; then exit "$status"; fi
        elif [ "$odd" -ge 3 ]; then
          workers all stop >/dev/null 2>&1 || true
          fail "the command itself failed ($where); see 'logs', it is not repeated"
        fi
        sleep "$TPU_POLL"
        continue
        ;;
    esac
    attempt=$((attempt + 1))
    [ "$attempt" -le "$TPU_ATTEMPTS" ] ||
      fail "gave up after $TPU_ATTEMPTS attempts; '$TPU_NAME' is $now and may still cost"
    say "attempt $attempt of $TPU_ATTEMPTS: '$TPU_NAME' is $now"
    status=0
    (resume "$@") || status=$?
    [ "$status" != 2 ] || exit 2
    odd=0
    if [ "$status" = 0 ]; then ours=1; else sleep "$TPU_POLL"; fi
  done
}

status() {
  look || explain describe
  if [ "$dry_run" = 1 ]; then
    workers all state
    return 0
  fi
  echo "machine: $now"
  [ "$now" = READY ] || return 0
  look_at_run
  [ "$now" != unreachable ] || explain status
  sort "$scratch/answer"
  echo "run: ${where#*: }"
}

logs() {
  local who="${1:-0}"
  shaped who '[0-9]+|all' "logs of a worker's number, or of all"
  if [ "$who" = all ]; then
    workers all tail || explain logs
  else
    once tpu-vm ssh "$TPU_NAME" --worker "$who" --command "$worker follow" || explain logs
  fi
}

stop() {
  workers all stop || explain stop
}

# The command with TPU_ENV before it, as the workers get it.
case "$action" in
  run | resume | keep)
    set -f
    # shellcheck disable=SC2206  # words are what it holds
    words=($TPU_ENV)
    set +f
    [ $# -eq 0 ] || [ -z "$TPU_ENV" ] || set -- env "${words[@]}" "$@"
    "$action" "$@"
    ;;
  wait) wait_ready ;;
  *) "$action" "$@" ;;
esac
