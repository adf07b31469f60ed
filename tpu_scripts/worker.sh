#!/usr/bin/env bash
# The end of launch.sh on a TPU worker, in ~/skilljax; launch.sh calls it over ssh.
#
#   worker.sh install PYTHON EXTRAS BUCKET MOUNT HOOK [NAME=VALUE...]
#                                   what a new machine lacks; all of it may be run again
#   worker.sh start ID COMMAND...   starts COMMAND, detached; the same ID twice: once
#   worker.sh state [COMMAND...]    HOST: running, finished, failed N, left, lost, idle,
#                                   bare; other where not COMMAND is running
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

# Packages of the system.
add() {
  sudo apt-get -q -o DPkg::Lock::Timeout=300 update
  sudo apt-get -q -o DPkg::Lock::Timeout=300 install -y "$@"
}

# Orbax finishes a checkpoint by renaming its folder, which gcsfuse refuses above the limit
# (0 by default) where the bucket has no folders of its own. No caches: what one host has
# written the others look for at once.
mount_bucket() {
  local list=/etc/apt/sources.list.d/gcsfuse.list key=/usr/share/keyrings/cloud.google.asc
  local apt=https://packages.cloud.google.com/apt
  [ "$(findmnt -n -o SOURCE -M "$2")" != "$1" ] || return 0
  if ! command -v gcsfuse >/dev/null; then
    curl -fsS "$apt/doc/apt-key.gpg" | sudo tee "$key" >/dev/null
    echo "deb [signed-by=$key] $apt gcsfuse-$(lsb_release -cs) main" | sudo tee "$list"
    add gcsfuse
  fi
  sudo umount -l "$2" 2>/dev/null || true # another bucket, or gcsfuse has died
  sudo mkdir -p "$2"
  sudo chown "$(id -u):$(id -g)" "$2"
  gcsfuse --implicit-dirs --rename-dir-limit 1000000 --metadata-cache-ttl-secs 0 \
    --metadata-cache-negative-ttl-secs 0 "$1" "$2"
}

install() {
  local python="$1" extras="$2" bucket="$3" mount="$4" hook="$5"
  shift 5
  rm -f .installed
  if ! command -v "$python" >/dev/null; then
    sudo add-apt-repository -y ppa:deadsnakes/ppa
    add "$python-venv" "$python-dev"
  fi
  # Jericho, below textworld, is compiled from source.
  if ! command -v cc >/dev/null || ! command -v make >/dev/null; then
    add build-essential
  fi
  [ -x .venv/bin/pip ] || "$python" -m venv .venv
  .venv/bin/pip install -q -e ".[$extras]"
  .venv/bin/python -c 'import jax; print(jax.process_index(), jax.local_devices())'
  [ -z "$bucket" ] || mount_bucket "$bucket" "$mount"
  [ -z "$hook" ] || PATH="$PWD/.venv/bin:$PATH" env "$@" bash "$hook"
  echo "$(git rev-parse HEAD) $(boot)" >.installed
}

# restarted NOTE: was the machine, since this note was made ("WORD BOOT …")?
restarted() {
  [ -f "$1" ] && [ "$(cut -d ' ' -f 2 "$1")" != "$(boot)" ]
}

# After a restart of the machine nothing is mounted, and what the hook did may be undone.
ready() {
  [ -f .installed ] && ! restarted .installed
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
  if ! ready; then
    echo "$(hostname) is not set up" >&2
    exit 8
  fi
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

# Exit status 42 says that another host failed first, and that this one left for its sake.
state() {
  local now=idle last
  if [ -f "$notes/exit" ]; then
    case "$(cat "$notes/exit")" in
      0) now=finished ;;
      42) now=left ;;
      *) now="failed $(cat "$notes/exit")" ;;
    esac
    # A machine that was shut down ended the run first; what it died of says nothing.
    [ "$now" = finished ] || ! restarted "$notes/pid" || now=lost
  elif alive; then
    now=running
  elif [ -f "$notes/pid" ]; then
    now=lost # no exit status: the machine was restarted, or all was killed
  fi
  last="$(cat "$notes/command" 2>/dev/null)" || true
  if [ $# -gt 0 ] && [ "$(printf '%q ' "$@")" != "$last" ]; then
    [ "$now" = running ] && now=other || now=idle
  fi
  case "$now" in
    running | other) ;;
    finished | failed*) [ -f .installed ] || now=bare ;;
    *) ready || now=bare ;;
  esac
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
  install | start | state | stop) "$verb" "$@" ;;
  busy) alive ;;
  follow) exec tail -n 100 -F runs/log.txt ;;
  tail) tail -n 100 runs/log.txt | sed "s/^/$(hostname): /" ;;
esac
