#!/usr/bin/env bash
# Runs skilljax on a Cloud TPU VM or pod slice. See tpu_scripts/README.md.
#
#   launch.sh [--dry-run] create                 make the TPU VM
#   launch.sh [--dry-run] setup                  copy this commit to all workers, install
#   launch.sh [--dry-run] run    COMMAND...      start COMMAND on all workers, detached
#   launch.sh [--dry-run] resume COMMAND...      after a preemption: create, setup, run
#   launch.sh [--dry-run] status | logs | stop | delete
#
# Settings come from the environment:
#   TPU_NAME      name of the TPU VM (required)
#   TPU_ZONE      zone, for example us-east5-b (required)
#   TPU_PROJECT   project; default: the one gcloud is set to
#   TPU_TYPE      accelerator type                       default v5litepod-8
#   TPU_IMAGE     runtime version                        default v2-alpha-tpuv5-lite
#   TPU_SPOT      1 for a preemptible machine            default 0
#   TPU_PYTHON    interpreter on the workers, >= 3.11    default python3.11
#   TPU_ENV       more variables for COMMAND, 'A=1 B=2'  default none
# Texts in single quotes are for the workers' shells.
# shellcheck disable=SC2016
set -euo pipefail

die() {
  echo "launch.sh: $*" >&2
  exit 2
}

usage() {
  sed -n '/^#   launch/,/^#   TPU_ENV/s/^# \{0,1\}//p' "$0"
}

dry_run=0
if [ "${1-}" = "--dry-run" ]; then
  dry_run=1
  shift
fi
action="${1-help}"
[ $# -gt 0 ] && shift

case "$action" in
  create | setup | run | resume | status | logs | stop | delete) ;;
  help | -h | --help)
    usage
    exit 0
    ;;
  *) die "unknown action '$action'; one of create setup run resume status logs stop delete" ;;
esac

[ -n "${TPU_NAME-}" ] || die "TPU_NAME is not set: the name of the TPU VM"
[ -n "${TPU_ZONE-}" ] || die "TPU_ZONE is not set: for example us-east5-b"
TPU_TYPE="${TPU_TYPE-v5litepod-8}"
TPU_IMAGE="${TPU_IMAGE-v2-alpha-tpuv5-lite}"
TPU_SPOT="${TPU_SPOT-0}"
TPU_PYTHON="${TPU_PYTHON-python3.11}"
TPU_ENV="${TPU_ENV-}"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# Runs a command, or prints it where this is a dry run.
do_it() {
  if [ "$dry_run" = 1 ]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

# gcloud compute tpus tpu-vm VERB … with the place filled in.
tpu() {
  local place=(--zone "$TPU_ZONE")
  [ -n "${TPU_PROJECT-}" ] && place+=(--project "$TPU_PROJECT")
  do_it gcloud compute tpus tpu-vm "$@" "${place[@]}"
}

# One shell command on every worker of the slice (or on $2).
on_workers() {
  tpu ssh "$TPU_NAME" --worker "${2-all}" --command "$1"
}

create() {
  local extra=()
  [ "$TPU_SPOT" = 1 ] && extra+=(--spot)
  tpu create "$TPU_NAME" --accelerator-type "$TPU_TYPE" --version "$TPU_IMAGE" \
    "${extra[@]+"${extra[@]}"}"
}

# A git bundle carries exactly the committed state, so that every checkpoint can name its
# commit; uncommitted changes would not be reproducible and are refused.
setup() {
  if [ -n "$(git -C "$root" status --porcelain --untracked-files=no)" ]; then
    die "commit your changes first: the workers get the committed state only"
  fi
  local bundle
  bundle="$(mktemp -d)/skilljax.bundle"
  do_it git -C "$root" bundle create --quiet "$bundle" HEAD
  tpu scp "$bundle" "$TPU_NAME:skilljax.bundle" --worker all
  on_workers "set -e
command -v $TPU_PYTHON >/dev/null || {
  sudo add-apt-repository -y ppa:deadsnakes/ppa
  sudo apt-get install -y $TPU_PYTHON-venv $TPU_PYTHON-dev build-essential
}
mkdir -p skilljax && cd skilljax
git init -q && git fetch -q ~/skilljax.bundle HEAD && git checkout -q -f FETCH_HEAD
[ -x .venv/bin/pip ] || $TPU_PYTHON -m venv .venv
.venv/bin/pip install -q -e '.[tpu]'
.venv/bin/python -c 'import jax; print(jax.process_index(), jax.local_devices())'"
  rm -rf "$(dirname "$bundle")"
}

# Detached: the run outlives this shell. Every worker runs the same command.
run() {
  [ $# -gt 0 ] || die "run needs a command, for example: run python -m experiments.train …"
  local command
  command="$(printf '%q ' "$@")"
  on_workers "set -e
cd skilljax && mkdir -p runs
if [ -f runs/pid ] && kill -0 \"\$(cat runs/pid)\" 2>/dev/null; then
  echo 'a run is already going; stop it first' >&2
  exit 1
fi
PATH=\"\$PWD/.venv/bin:\$PATH\" $TPU_ENV setsid nohup $command >>runs/log.txt 2>&1 </dev/null &
echo \$! >runs/pid"
}

# Checkpoints make the run itself resumable: the same command goes on where it was. So
# resuming is only a matter of having machines again.
resume() {
  [ $# -gt 0 ] || die "resume needs the command of the run"
  local state=PREEMPTED
  if [ "$dry_run" = 1 ]; then
    tpu describe "$TPU_NAME" --format 'value(state)'
  else
    state="$(tpu describe "$TPU_NAME" --format 'value(state)' || echo ABSENT)"
  fi
  case "$state" in
    READY) ;;
    ABSENT)
      create
      setup
      ;;
    *)
      delete
      create
      setup
      ;;
  esac
  run "$@"
}

status() {
  tpu describe "$TPU_NAME" --format 'value(state)'
  on_workers 'cd skilljax && kill -0 "$(cat runs/pid)" 2>/dev/null && echo running || echo idle'
}

logs() {
  on_workers 'tail -n 100 -f skilljax/runs/log.txt' 0
}

# The negative id ends the whole process group that setsid made.
stop() {
  on_workers 'cd skilljax && [ -f runs/pid ] && kill -- "-$(cat runs/pid)"; rm -f runs/pid'
}

delete() {
  tpu delete "$TPU_NAME" --quiet
}

"$action" "$@"
