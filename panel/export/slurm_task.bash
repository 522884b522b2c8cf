#!/usr/bin/env bash
# What srun runs once on each node of the job: it starts the node's processes by the node's own script, and stays.
# $1 is the job's folder, which all nodes share. A file `stop` in it ends the job's processes on all nodes.
set -uo pipefail

readonly job=$1
host=${SLURMD_NODENAME:-}
if [[ -z $host ]]; then host=$(scontrol show hostnames "${SLURM_STEP_NODELIST:-}" | sed -n "$((SLURM_PROCID + 1))p"); fi
readonly host

label='' number=-1
while read -r name folder; do
  number=$((number + 1))
  if [[ $name == "$host" ]]; then
    label=$folder
    break
  fi
done <"$job/hosts"
if [[ -z $label ]]; then
  printf 'node %s has no part in this plan; see %s/hosts\n' "$host" "$job" >&2
  exit 2
fi
readonly label number

# Each log has the node's number in its name too, in one folder for all nodes.
link_logs() {
  local log name
  for log in "$job/$label/logs/"*.log; do
    if [[ ! -e $log ]]; then continue; fi
    name=${log##*/}
    ln -sfn -- "$label/logs/$name" "$job/${name%.log}_NODE$number.log"
  done
}

mkdir -p -- "$job/$label"
bash "$job/$label.sh" start --foreground &
readonly child=$!
trap ': >"$job/stop"; link_logs' EXIT
# scancel and the time limit send SIGTERM here; the node's script ends its processes with their children.
trap 'kill -TERM "$child" 2>/dev/null' TERM INT HUP

stopping=0 known=0
while kill -0 "$child" 2>/dev/null; do
  if ((!stopping)) && [[ -e $job/stop ]]; then
    stopping=1
    kill -TERM "$child" 2>/dev/null
  fi
  if ((!known)) && bash "$job/$label.sh" status >/dev/null 2>&1; then
    known=1
    : >"$job/$label.ready"
  fi
  link_logs
  sleep 1 &
  wait $!
done
wait "$child"
code=$?
# Ended because it was told to.
if ((stopping && code == 143)); then code=0; fi
exit "$code"
