#!/usr/bin/env bash
# Runs skilljax on the GPUs of a Slurm cluster. See tpu_scripts/README.md.
#
#   slurm.sh [--dry-run] submit COMMAND...   queue COMMAND; it requeues itself
#   slurm.sh [--dry-run] status              of the job and of the run
#   slurm.sh [--dry-run] logs [TASK|job]     follow one process (0), or the job itself
#   slurm.sh [--dry-run] resume COMMAND...   queue it again where it has failed or is gone
#   slurm.sh [--dry-run] cancel              end it; the work folder stays
# shellcheck disable=SC2329  # "$action" calls
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
begin JOB "submit status logs resume cancel"

export JOB_NAME="${JOB_NAME-}"
export JOB_DIR="${JOB_DIR:-$root/runs/slurm}"
export JOB_VENV="${JOB_VENV:-$root/.venv}"
export JOB_TASKS="${JOB_TASKS:-gpu}"
export JOB_MAX_RESTARTS="${JOB_MAX_RESTARTS:-100}"
JOB_NODES="${JOB_NODES:-1}"
JOB_GPUS="${JOB_GPUS:-1}"
JOB_CPUS="${JOB_CPUS:-8}"
JOB_TIME="${JOB_TIME:-04:00:00}"
JOB_PARTITION="${JOB_PARTITION-}"
JOB_ACCOUNT="${JOB_ACCOUNT-}"
JOB_OPTIONS="${JOB_OPTIONS-}"
required JOB_NAME "a name for the job, by which it is found again"
shaped JOB_NAME '[A-Za-z0-9][A-Za-z0-9._-]{0,62}' "letters, digits, . _ and -"
one_of JOB_TASKS gpu node
whole JOB_NODES 1
whole JOB_GPUS 1
whole JOB_CPUS 1
whole JOB_MAX_RESTARTS 0
shaped JOB_TIME '[0-9]+(-[0-9]+)?(:[0-9]+){0,2}' "a time of Slurm, for example 04:00:00"
note="$JOB_DIR/$JOB_NAME" # .job: its number, .exit: its exit status
now="" id="" where=""

explain() {
  advise "$1" <<TABLE
2~artition~there is no such partition for you; see sinfo, set JOB_PARTITION
2~ccount~there is no such account; see sacctmgr show assoc user=$(id -un), set JOB_ACCOUNT
2~QOS|limit|Limit~more than the cluster allows; lower JOB_TIME, JOB_NODES or JOB_GPUS
2~node configuration|GRES|gres|TRES~no node has that; see sinfo -o '%P %G %c'
1~contact slurm controller|timed out~Slurm does not answer; 'status' first, then again
TABLE
}

# The job in the queue as "ID STATE REASON", else what its last run left behind, in $now.
look() {
  again squeue --user "$(id -un)" --name "$JOB_NAME" --noheader --format '%i %T %r' \
    >"$scratch/answer" || explain status
  if [ "$dry_run" = 1 ]; then
    cat "$scratch/answer"
    id=JOB now=lost # so that a dry run shows the longest way
    return 0
  fi
  if read -r id now where <"$scratch/answer"; then return 0; fi
  now=idle
  [ ! -f "$note.job" ] || now=lost # no exit status: killed with its node, or cancelled
  [ ! -f "$note.exit" ] || now="failed $(cat "$note.exit")"
  [ "$now" != "failed 0" ] || now=finished
}

submit() {
  local each=1 more=() options=()
  wants_command "submit python -m experiments.train --config=… --workdir=…" "$@"
  look
  if [ -n "$id" ] && [ "$dry_run" = 0 ]; then
    die "job $id is $now under this name; 'cancel' it, or change JOB_NAME"
  fi
  [ "$JOB_TASKS" = node ] || each="$JOB_GPUS"
  [ -z "$JOB_PARTITION" ] || more+=(--partition "$JOB_PARTITION")
  [ -z "$JOB_ACCOUNT" ] || more+=(--account "$JOB_ACCOUNT")
  set -f
  # shellcheck disable=SC2206  # words are what it holds
  options=($JOB_OPTIONS)
  set +f
  do_it mkdir -p "$JOB_DIR"
  do_it rm -f "$note.exit" "$note.job"
  # Not repeated: it may have been heard.
  noted sbatch --parsable --export ALL --job-name "$JOB_NAME" --chdir "$root" \
    --output "$note.txt" --nodes "$JOB_NODES" --gpus-per-node "$JOB_GPUS" \
    --ntasks-per-node "$each" --cpus-per-task "$JOB_CPUS" --time "$JOB_TIME" \
    "${more[@]+"${more[@]}"}" "${options[@]+"${options[@]}"}" \
    "$here/slurm.sbatch" "$@" >"$scratch/answer" ||
    explain submit
  cat "$scratch/answer"
  [ "$dry_run" = 1 ] || cp "$scratch/answer" "$note.job"
}

status() {
  look
  [ "$dry_run" = 1 ] || echo "run: $now${id:+, job $id ($where)}"
}

logs() {
  local which="${1:-0}"
  shaped which '[0-9]+|job' "logs of a process by its number, or of the job"
  if [ "$which" = job ]; then
    do_it tail -n 100 -F "$note.txt"
  else
    do_it tail -n 100 -F "$note-$which.txt"
  fi
}

# Preemption and time limit need nothing: the job goes back into the queue by itself.
resume() {
  wants_command "resume python -m experiments.train --config=… --workdir=…" "$@"
  look
  case "$now:$where" in
    *:*[Hh]eld* | *HOLD:*)
      say "job $id was held; it may run again now"
      again scontrol release "$id" || explain resume
      ;;
    finished:*) say "'$JOB_NAME' has finished; change JOB_NAME to run something else" ;;
    idle:* | lost:* | failed*) submit "$@" ;;
    *) say "job $id is $now, and starts again by itself" ;;
  esac
}

cancel() {
  look
  if [ -z "$id" ]; then
    say "there is no job '$JOB_NAME' in the queue"
  else
    noted scancel "$id" || explain cancel
  fi
  do_it rm -f "$note.job" "$note.exit"
}

case "$action" in
  logs) ;;
  *) needs sbatch "this is not a machine of a Slurm cluster; log in to one" ;;
esac
"$action" "$@"
