#!/usr/bin/env bash
# The end of launch.sh on a TPU worker, in ~/skilljax; launch.sh calls it over ssh.
#
#   worker.sh start ID COMMAND...   starts COMMAND, detached; the same ID twice: once
#   worker.sh state [COMMAND...]    HOST: running, finished, failed N, lost, idle, bare;
#                                   other where something else than COMMAND is running
#   worker.sh busy                  exit status 0 where something is running
#   worker.sh stop [ID]             ends the run, or only the one with this ID
#   worker.sh follow | tail         the log; tail puts the host's name before each line
# shellcheck disable=SC2016  # text for another shell
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
notes=runs/worker # of the newest run: its command, "PID BOOT ID", its exit status
mkdir -p "$notes"

boot() {
  cat /proc/sys/kernel/random/boot_id
}

# After a reboot the same number can be another process. A zombie (Z) holds no chip.
alive() {
  local pid boot
  [ -f "$notes/pid" ] && read -r pid boot _ <"$notes/pid" &&
    [ "$boot" = "$(boot)" ] &&
    { cat /proc/[0-9]*/stat 2>/dev/null || true; } | sed 's/.*) //' |
    grep -E "^[^Z] [0-9]+ $pid " >/dev/null # state, parent, group
}

started_as() {
  [ -f "$notes/pid" ] && [ "$(cut -d ' ' -f 3 "$notes/pid")" = "$1" ]
}

start() {
  local id="$1"
  shift
  if started_as "$id"; then return 0; fi # launch.sh asks again where ssh broke
  [ ! -f "$notes/exit" ] || stop "" # what the last run left behind would hold the chips
  if alive; then
    echo "$(hostname): a run is already going" >&2
    exit 9
  fi
  rm -f "$notes/exit"
  printf '%q ' "$@" >"$notes/command"
  echo "== $(date -u '+%Y-%m-%d %H:%M:%S') $(cat "$notes/command")" >>runs/log.txt
  # A session of its own: it outlives ssh, and its number ends all of its processes.
  PATH="$PWD/.venv/bin:$PATH" setsid bash -c '
    code=0
    "${@:2}" || code=$?
    echo "$code" >"$1.new" && mv "$1.new" "$1"
  ' run "$notes/exit" "$@" >>runs/log.txt 2>&1 </dev/null &
  echo "$! $(boot) $id" >"$notes/pid"
}

state() {
  local now=idle
  if [ -f "$notes/exit" ]; then
    now="failed $(cat "$notes/exit")"
    [ "$now" != "failed 0" ] || now=finished
  elif alive; then
    now=running
  elif [ -f "$notes/pid" ]; then
    now=lost # no exit status: the machine was restarted, or all was killed
  fi
  local last
  last="$(cat "$notes/command" 2>/dev/null)" || true
  if [ $# -gt 0 ] && [ "$(printf '%q ' "$@")" != "$last" ]; then
    [ "$now" = running ] && now=other || now=idle
  fi
  [ -f .installed ] || [ "$now" = running ] || now=bare
  echo "$(hostname): $now"
}

# The chips are free only when the last process has gone.
stop() {
  local pid signal
  if [ -n "${1-}" ] && ! started_as "$1"; then return 0; fi
  for signal in TERM KILL; do
    alive || break
    read -r pid _ <"$notes/pid"
    kill "-$signal" -- "-$pid" 2>/dev/null || true
    for _ in $(seq 150); do
      alive || break
      sleep 0.2
    done
  done
  rm -f "$notes/pid" "$notes/exit"
}

verb="$1"
shift
case "$verb" in
  start | state | stop) "$verb" "$@" ;;
  busy) alive ;;
  follow) exec tail -n 100 -F runs/log.txt ;;
  tail) tail -n 100 runs/log.txt | sed "s/^/$(hostname): /" ;;
esac
