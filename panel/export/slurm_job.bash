# What stands above this line is the plan's; below it is the same for every plan.
set -uo pipefail

say() { printf '%s\n' "$*"; }

fail() {
  printf '%s: %s\n' "${SLURM_JOB_NAME:-job}" "$*" >&2
  exit 1
}

[[ -n ${SLURM_JOB_ID-} ]] || fail "submit this script with sbatch"
readonly folder=${SLURM_SUBMIT_DIR:-$PWD}
[[ -r $folder/$task ]] || fail "$folder has no $task; call sbatch in the folder of the export"
mkdir -p -- "$log_path" || fail "$log_path cannot be written; set LOG_PATH to a folder that all nodes share"
job=$(cd -- "$log_path" && pwd -P)/$SLURM_JOB_ID
readonly job
mkdir -p -- "$job" || fail "$job cannot be written; set LOG_PATH to a folder that all nodes share"
rm -f -- "$job"/stop "$job"/ready "$job"/*.ready

# Writes `host label` of each node of the plan to the job's hosts file, and the sed that puts in addresses.
assign() {
  local given=() free=() host name address number=0
  mapfile -t given < <(scontrol show hostnames "${SLURM_JOB_NODELIST:-}")
  ((${#given[@]} >= ${#labels[@]})) || fail "the job has ${#given[@]} nodes, but ${#labels[@]} are needed"
  for host in "${given[@]}"; do
    for name in "${wanted[@]}"; do
      if [[ $name == "$host" ]]; then continue 2; fi
    done
    free+=("$host")
  done
  printf '/%s/!b\n' "$mark" >"$job/addresses.sed"
  for name in "${wanted[@]}"; do
    if [[ -z $name ]]; then
      ((${#free[@]})) || fail "the job has no host for ${labels[number]}"
      host=${free[0]} free=("${free[@]:1}")
      address=$(scontrol -o show node "$host") || fail "Slurm knows no node $host"
      address=${address#*NodeAddr=} address=${address%%[[:space:]]*}
      # In a URL IPv6 needs brackets and elsewhere none: the name does for both.
      if [[ $address == *:* ]]; then address=$host; fi
      [[ $address =~ ^[A-Za-z0-9._-]+$ ]] || fail "node $host has no address that can be used"
      printf 's/%s%s-address/%s/g\n' "$mark" "$number" "$address" >>"$job/addresses.sed"
    else
      host=$name
    fi
    printf '%s %s\n' "$host" "${labels[number]}"
    number=$((number + 1))
  done >"$job/hosts"
}

# Copies the nodes' scripts and config files into the job's folder, with the addresses that Slurm has.
copy() {
  local file
  while IFS= read -r -d '' file; do
    mkdir -p -- "$(dirname -- "$job/$file")"
    sed -f "$job/addresses.sed" -- "$folder/nodes/$file" >"$job/$file" || fail "$job/$file cannot be written"
    if [[ -x $folder/nodes/$file ]]; then chmod +x -- "$job/$file"; fi
  done < <(cd -- "$folder/nodes" && find . -type f -printf '%P\0')
}

# Ends with what process $1 ends with, also when a signal comes in between.
join() {
  local code
  while :; do
    wait "$1"
    code=$?
    if ((code <= 128)) || ! kill -0 "$1" 2>/dev/null; then return "$code"; fi
  done
}

# Returns once all nodes are ready; fails when one has ended before.
await_ready() {
  local label
  for label in "${labels[@]}"; do
    until [[ -e $job/$label.ready ]]; do
      if [[ -e $job/stop ]] || ! kill -0 "$server" 2>/dev/null; then return 1; fi
      sleep 1 &
      wait $!
    done
  done
}

# Asks the deployment for an answer, on the node that the plan says.
ask() {
  local host label
  while read -r host label; do
    if [[ $label == "$asking" ]]; then break; fi
  done <"$job/hosts"
  srun --overlap --nodes=1 --ntasks=1 --nodelist="$host" --gres=none --mpi=none --cpu-bind=none \
    --output="$job/smoke-test.log" bash "$job/$label.sh" test
}

assign
copy
router=$(printf '%s\n' "$router" | sed -f "$job/addresses.sed")
readonly router
trap ': >"$job/stop"' TERM INT HUP
say "logs: $job"
# A task that ends stops the others by itself, which leaves them time to end their processes.
srun --nodes="${#labels[@]}" --ntasks="${#labels[@]}" --ntasks-per-node=1 --mpi=none --cpu-bind=none \
  --kill-on-bad-exit=0 --wait=120 --output="$job/node-%n.log" \
  --nodelist="$(cut -d ' ' -f 1 "$job/hosts" | paste -sd ,)" \
  bash "$folder/$task" "$job" &
readonly server=$!

status=1
if await_ready; then
  status=0
  say "ready: $router"
  if [[ -n $asking ]]; then
    ask &
    join $! || status=$?
    cat -- "$job/smoke-test.log" || true
  fi
  if ((status == 0)); then
    printf '%s\n' "$router" >"$job/ready"
  else
    say "the smoke test failed with exit code $status; the job ends"
  fi
  # UNTIL_READY=1 is a trial: the job ends once it has answered.
  if ((status != 0)) || [[ ${UNTIL_READY-0} == 1 ]]; then : >"$job/stop"; fi
fi
join "$server"
served=$?
rm -f -- "$job/ready"
if ((served != 0)); then exit "$served"; fi
exit "$status"
