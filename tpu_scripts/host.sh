#!/usr/bin/env bash
# Runs COMMAND as one of several hosts of GKE: host.sh COMMAND...
#
# Exit status 42 says that another host failed first, and that this one left for its sake.
# Such a pod waits a little, so that Kubernetes hears of the other one first and judges by
# that: a preempted node costs no restart, a command that fails by itself does.
set -uo pipefail

code=0
"$@" || code=$?
[ "$code" != 42 ] || sleep "${HOST_PAUSE:-15}"
exit "$code"
