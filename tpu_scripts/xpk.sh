#!/usr/bin/env bash
# Runs skilljax on a GKE cluster that xpk made. See tpu_scripts/README.md.
#
#   xpk.sh [--dry-run] setup               build the image of this commit and push it
#   xpk.sh [--dry-run] create COMMAND...   queue COMMAND for all hosts of a slice
#   xpk.sh [--dry-run] status              what xpk says of it
#   xpk.sh [--dry-run] wait                until it has ended; fails where it has failed
#   xpk.sh [--dry-run] logs [HOST|all]     follow one host (0), or the end of all
#   xpk.sh [--dry-run] resume COMMAND...   queue it again where it has failed or is gone
#   xpk.sh [--dry-run] delete              end it; the storage stays
# shellcheck disable=SC2329  # "$action" calls
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
begin XPK "setup create status wait logs resume delete"

XPK_TYPE="${XPK_TYPE:-v5litepod-8}"
XPK_PROJECT="${XPK_PROJECT-}"
XPK_ZONE="${XPK_ZONE-}"
XPK_STORAGE="${XPK_STORAGE-}"
XPK_MAX_RESTARTS="${XPK_MAX_RESTARTS:-50}"
XPK_EXTRAS="${XPK_EXTRAS-}"
XPK_ENV="${XPK_ENV-}"
# In the image, whose folder is the checkout.
host=/skilljax/tpu_scripts/host.sh
name='[a-z]([-a-z0-9]{0,38}[a-z0-9])?'

check_image() {
  required XPK_IMAGE "the image with its registry, which 'setup' pushes"
  shaped XPK_IMAGE '[A-Za-z0-9./:@_-]+' "an image, for example REGISTRY/skilljax:1"
  extras XPK_EXTRAS
}

check_name() {
  required XPK_NAME "the name of the workload"
  required XPK_CLUSTER "the name of the cluster, which xpk made"
  shaped XPK_NAME "$name" "a-z, 0-9 and -, at most 40"
  shaped XPK_CLUSTER "$name" "a-z, 0-9 and -, at most 40"
}

check_run() {
  wants_command "$action python -m experiments.train --config=… --workdir=…" "$@"
  check_name
  check_image
  shaped XPK_TYPE '[a-z0-9]+-[0-9x]+' "what xpk calls a type, for example v5litepod-8"
  whole XPK_MAX_RESTARTS 0
  assignments XPK_ENV
}

# xpk workload VERB … with the place filled in.
workload() {
  local place=(--cluster "$XPK_CLUSTER")
  [ -z "$XPK_PROJECT" ] || place+=(--project "$XPK_PROJECT")
  [ -z "$XPK_ZONE" ] || place+=(--zone "$XPK_ZONE")
  noted xpk workload "$@" "${place[@]}"
}

explain() {
  fail "$1 failed; what xpk says is above"
}

setup() {
  push_image "$XPK_IMAGE" "$XPK_EXTRAS"
}

# xpk puts the command into a manifest as a line of shell. Backslashes (%q) also keep
# Kubernetes from reading $$ and $(A). xpk starts it again after the exit statuses 42 (left
# because of another host) and 127 to 255 (killed), and not after an error in Python (1).
create() {
  local more=() word
  [ -z "$XPK_STORAGE" ] || more+=(--storage "$XPK_STORAGE")
  set -f
  for word in $XPK_ENV; do
    more+=(--env "$word")
  done
  set +f
  for word in "$@"; do
    case "$word" in
      *[[:cntrl:]]*) die "xpk cannot hold a line break or tab in the command" ;;
    esac
  done
  word="$(printf '%q ' "$host" "$@")"
  workload create --workload "$XPK_NAME" --command "${word% }" \
    --tpu-type "$XPK_TYPE" --docker-image "$XPK_IMAGE" \
    --max-restarts "$XPK_MAX_RESTARTS" "${more[@]+"${more[@]}"}" || explain create
}

status() {
  workload list --filter-by-job "$XPK_NAME" || explain status
}

# xpk's exit status: 0 where it has finished, 124 not yet, 125 failed, 1 for trouble.
ended() {
  workload list --wait-for-job-completion "$XPK_NAME" "$@"
}

wait_end() {
  local code=0
  ended || code=$?
  case "$code" in
    0) ;;
    125) fail "'$XPK_NAME' has failed; see 'logs'" ;;
    *) explain wait ;;
  esac
}

logs() {
  needs kubectl "see https://kubernetes.io/docs/tasks/tools"
  pod_logs "$XPK_NAME" "${1:-0}" kubectl ||
    fail "logs failed: $(what_went_wrong); gcloud container clusters get-credentials"
}

# A preempted slice needs nothing: xpk's JobSet starts it again by itself.
resume() {
  local code=0
  ended --timeout 0 || code=$?
  [ "$dry_run" = 0 ] || code=125 # so that a dry run shows the longest way
  case "$code" in
    0) say "'$XPK_NAME' has finished; 'delete' it to run something else" ;;
    124) say "'$XPK_NAME' is there, and starts again by itself; see 'status'" ;;
    125)
      delete
      create "$@"
      ;;
    *)
      # Not to be told apart from trouble, but by the list.
      quietly workload list --filter-by-job "$XPK_NAME" || explain status
      if grep -q "^$XPK_NAME " "$scratch/answer"; then explain resume; fi
      create "$@"
      ;;
  esac
}

delete() {
  workload delete --workload "$XPK_NAME" || explain delete
}

case "$action" in
  setup) check_image ;;
  create | resume) check_run "$@" ;;
  *) check_name ;;
esac
case "$action" in
  setup | logs) ;;
  *) needs xpk "pip install xpk, see https://github.com/AI-Hypercomputer/xpk" ;;
esac
case "$action" in
  wait) wait_end ;;
  *) "$action" "$@" ;;
esac
