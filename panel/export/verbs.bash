# Waits until process $1 is ready: $2 is its URL, $3 how many seconds that may take, $4 the script of its node when
# that is another one.
await() {
  local name=$1 address=$2 seconds=$3 elsewhere=$4 deadline told=0
  deadline=$((SECONDS + seconds))
  if [[ -z $address ]]; then
    # It answers nobody; that of another node cannot be seen from here.
    if [[ -n $elsewhere ]] || lives "$name"; then return; fi
    ended "$name"
  fi
  until answers "$address"; do
    if [[ -z $elsewhere ]] && ! lives "$name"; then ended "$name"; fi
    if ((SECONDS >= deadline)); then
      if [[ -n $elsewhere ]]; then
        fail "$name did not answer $address within $seconds s; was $elsewhere start called on its node?"
      fi
      fail "$name did not answer $address within $seconds s; see $self logs $name"
    fi
    if ((!told)); then
      if [[ -n $elsewhere ]]; then say "waiting for $name of $elsewhere at $address"; else say "waiting for $name at $address"; fi
      told=1
    fi
    sleep 0.2
  done
}

ended() {
  describe "$1"
  tail -n 20 -- "$logs/$log" >&2 || true
  fail "$1 ended before it was ready; its log is $logs/$log"
}

# Ends the script; what this call started is stopped first.
fail() {
  warn "$*"
  if ((${#started[@]})); then end_processes "${started[@]}" || true; fi
  exit 1
}

interrupted() {
  trap '' INT TERM HUP
  warn "interrupted, stopping what was started"
  if ((${#started[@]})); then end_processes "${started[@]}" || true; fi
  exit "$1"
}

# Fails unless process $1, by its name in the plan, runs.
lives() {
  local variables command ports waits cleanup file log directory ready ready_s grace_s
  describe "$1"
  runs "$file"
}

# Only one start or stop at a time; children do not inherit the lock. A stop ends a start that still waits.
lock() {
  local holder=''
  mkdir -p -- "$run" "$logs"
  exec 9>>"$run/lock"
  if ! flock -n 9; then
    read -r holder <"$run/holder" || true
    if [[ $1 != stop || ! $holder =~ ^[1-9][0-9]+$ ]]; then
      warn "another start or stop is at work here${holder:+, process $holder}"
      exit 1
    fi
    kill -TERM -- "$holder" 2>/dev/null || true
    flock -w 120 9 || { warn "process $holder, which starts something here, does not end"; exit 1; }
  fi
  printf '%s\n' "$$" >"$run/holder"
}

# Puts the config files where process $1 reads them, when it does not start in the folder that has them.
place_files() {
  local needed
  for needed in ${files[@]+"${files[@]}"}; do
    [[ -e $folder/$needed ]] || fail "$folder/$needed is missing; copy the whole folder $label beside $self"
    if [[ $1 -ef $folder ]]; then continue; fi
    if cmp -s -- "$folder/$needed" "$1/$needed"; then continue; fi
    if [[ -e $1/$needed ]]; then fail "$1/$needed differs from $folder/$needed; move one of them away"; fi
    mkdir -p -- "$(dirname -- "$1/$needed")"
    cp -- "$folder/$needed" "$1/$needed"
  done
}

spawn() {
  local name=$1 port place
  local variables=() command=() ports=() waits=() cleanup=() file='' log='' directory='' ready='' ready_s=0 grace_s=0
  describe "$name"
  while ((${#waits[@]})); do
    await "${waits[@]:0:4}"
    waits=("${waits[@]:4}")
  done
  for port in ${ports[@]+"${ports[@]}"}; do
    if listens "$port"; then fail "port ${port%@*} of $name is taken by another process"; fi
  done
  place=$(cd -- "$folder" && CDPATH='' cd -- "${directory:-.}" && pwd) || fail "$name cannot start in $directory: no such folder"
  place_files "$place"
  read -r token </proc/sys/kernel/random/uuid
  (
    cd -- "$place"
    # A background job of a script ignores these two; the engine shall not.
    trap - INT QUIT
    # setsid comes last, since env takes a program with = in its name for one more variable.
    exec env -- "PDPANEL_RUN_ID=$token" ${variables[@]+"${variables[@]}"} "$setsid" -- "${command[@]}"
  ) </dev/null >>"$logs/$log" 2>&1 9>&- &
  pid=$!
  started+=("$name")
  if ! look "$pid"; then ticks=0; fi
  printf '%s %s %s %s\n' "$pid" "$ticks" "$boot" "$token" >"$run/$file.pid"
  say "started $name (process $pid)"
}

start() {
  local foreground=0 name
  if [[ ${1-} == --foreground ]]; then foreground=1 && shift; fi
  choose "$@"
  lock start
  trap 'interrupted 130' INT
  trap 'interrupted 143' TERM
  trap 'interrupted 129' HUP
  for name in "${chosen[@]}"; do
    if lives "$name"; then say "$name runs already"; else spawn "$name"; fi
  done
  local variables command ports waits cleanup file log directory ready ready_s grace_s
  for name in "${chosen[@]}"; do
    describe "$name"
    await "$name" "$ready" "$ready_s" ''
    say "$name is ready"
  done
  exec 9>&-
  if ((!foreground)); then return; fi
  # That somebody kills the sleep is no reason to end.
  while sleep 1 || true; do
    for name in "${chosen[@]}"; do
      if ! lives "$name"; then fail "$name ended; see $self logs $name"; fi
    done
  done
}

# Ends processes and all that they started: SIGTERM, the grace of each, SIGKILL; returns when their ports are free. Who
# needs another goes before it, so that it can still tell a metadata server that it leaves.
end_processes() {
  local name port begun number left=("$@") still=() status=0
  local variables command ports waits cleanup file log directory ready ready_s grace_s
  local -A asked=() needed=()
  while ((${#left[@]})); do
    still=()
    needed=()
    for name in "${left[@]}"; do
      describe "$name"
      for ((number = 0; number < ${#waits[@]}; number += 4)); do needed[${waits[number]}]=1; done
    done
    scan
    for name in "${left[@]}"; do
      describe "$name"
      find_members "$file"
      begun=${asked[$name]-}
      if ((${#members[@]} == 0)); then
        # A container goes on when the client that started it was killed.
        if ((${#cleanup[@]})); then "${cleanup[@]}" >/dev/null 2>&1 || true; fi
        rm -f -- "$run/$file.pid"
        continue
      elif [[ -n $begun ]] && ((SECONDS - begun > grace_s + 20)); then
        warn "$name does not end although it was killed: process ${members[*]}"
        status=1
        continue
      elif [[ -n $begun ]] && ((SECONDS - begun > grace_s)); then
        kill -KILL -- "${members[@]}" 2>/dev/null || true
      elif [[ -z $begun && -z ${needed[$name]-} ]]; then
        kill -TERM -- "${members[@]}" 2>/dev/null || true
        asked[$name]=$SECONDS
      fi
      still+=("$name")
    done
    left=(${still[@]+"${still[@]}"})
    if ((${#left[@]})); then sleep 0.1; fi
  done
  begun=$SECONDS
  for name in "$@"; do
    describe "$name"
    for port in ${ports[@]+"${ports[@]}"}; do
      while listens "$port"; do
        if ((SECONDS - begun > 5)); then
          warn "port ${port%@*} of $name is held by another process"
          status=1
          break
        fi
        sleep 0.1
      done
    done
  done
  return "$status"
}

stop() {
  local name running=()
  local variables command ports waits cleanup file log directory ready ready_s grace_s
  choose "$@"
  lock stop
  scan
  for name in "${chosen[@]}"; do
    describe "$name"
    find_members "$file"
    if ((${#members[@]})) || [[ ${#cleanup[@]} -gt 0 && -e $run/$file.pid ]]; then
      running=("$name" ${running[@]+"${running[@]}"})
    else
      rm -f -- "$run/$file.pid"
    fi
  done
  if ((${#running[@]} == 0)); then
    say "nothing runs"
    return
  fi
  end_processes "${running[@]}"
  say "stopped ${running[*]}"
}

# 0: all are ready. 3: none runs. 1: what is between.
status() {
  local name word alive=0 fine=0
  local variables command ports waits cleanup file log directory ready ready_s grace_s
  choose "$@"
  for name in "${chosen[@]}"; do
    describe "$name"
    word=stopped
    if runs "$file"; then
      alive=$((alive + 1))
      word="not ready"
      if [[ -z $ready ]] || answers "$ready"; then word=ready fine=$((fine + 1)); fi
      word+=" (process $pid)"
    fi
    printf '%-20s %s\n' "$name" "$word"
  done
  if ((fine == ${#chosen[@]})); then return 0; fi
  if ((alive == 0)); then return 3; fi
  return 1
}

show_logs() {
  local name paths=() options=(-n 100)
  local variables command ports waits cleanup file log directory ready ready_s grace_s
  if [[ ${1-} == -f ]]; then options+=(-F) && shift; fi
  choose "$@"
  for name in "${chosen[@]}"; do
    describe "$name"
    if [[ -e $logs/$log ]]; then paths+=("$logs/$log"); fi
  done
  if ((${#paths[@]} == 0)); then
    warn "nothing was started yet"
    return 1
  fi
  exec tail "${options[@]}" -- "${paths[@]}"
}

# Asks for an answer and shows it; fails unless it comes with status 200.
try() {
  local answer command number
  if ((requests == 0)); then
    warn "the request is sent from another node: $test_script test"
    return 2
  fi
  for ((number = 1; number <= requests; number++)); do
    request "$number"
    if [[ ${command[0]} != curl ]]; then
      "${command[@]}"
      continue
    fi
    answer=$("${command[@]}" -sS --noproxy '*' -w '\n%{http_code}') || fail "no answer came (exit code $?); see $self status"
    say "${answer%$'\n'*}"
    if [[ ${answer##*$'\n'} != 200 ]]; then fail "the answer has status ${answer##*$'\n'}"; fi
  done
}

bench() {
  local command=()
  bench_command
  if ((${#command[@]})); then exec "${command[@]}" "$@"; fi
  measure "$@"
}

# Measures one request after the other, for engines without a program for it.
measure() {
  local count=${1:-10} number seconds all='' command
  [[ $count =~ ^[1-9][0-9]{0,5}$ ]] || { warn "$count is no number of requests"; return 2; }
  if ((requests == 0)); then
    warn "requests are sent from another node: $test_script bench"
    return 2
  fi
  request 1
  for ((number = 0; number < count; number++)); do
    seconds=$("${command[@]}" -sS --noproxy '*' -o /dev/null -f -w '%{time_total}') || fail "no answer came; see $self status"
    all+="$seconds"$'\n'
  done
  printf '%s' "$all" | LC_ALL=C sort -n | LC_ALL=C awk '
    { at[NR] = $1; sum += $1 }
    END { printf "%d requests, seconds: mean %.3f, median %.3f, longest %.3f\n", NR, sum / NR, at[int((NR + 1) / 2)], at[NR] }
  '
}

# Sets chosen: the processes that the arguments name, in the order of the plan; all when there are none.
choose() {
  local name wanted
  chosen=()
  for wanted in "$@"; do
    for name in ${processes[@]+"${processes[@]}"}; do
      if [[ $name == "$wanted" ]]; then continue 2; fi
    done
    warn "$wanted is none of the processes here: ${processes[*]-}"
    exit 2
  done
  for name in ${processes[@]+"${processes[@]}"}; do
    if (($# == 0)); then chosen+=("$name"); fi
    for wanted in "$@"; do
      if [[ $name == "$wanted" ]]; then chosen+=("$name") && break; fi
    done
  done
}

# Where `describe` puts what it knows; the functions above have their own.
variables=() command=() ports=() waits=() cleanup=() file='' log='' directory='' ready='' ready_s=0 grace_s=0

verb=${1-}
if (($#)); then shift; fi
case $verb in
start) start "$@" ;;
stop) stop "$@" ;;
status) status "$@" ;;
logs) show_logs "$@" ;;
test) try ;;
bench) bench "$@" ;;
*) usage ;;
esac
