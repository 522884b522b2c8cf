# The verbs. What stands above this line is the plan's; below it is the same on every node.

readonly self=${BASH_SOURCE[0]##*/}
home=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
readonly home
readonly folder=$home/$label
readonly run=$folder/run
readonly logs=$folder/logs
boot=unknown
if [[ -r /proc/sys/kernel/random/boot_id ]]; then read -r boot </proc/sys/kernel/random/boot_id; fi
readonly boot
setsid=$(command -v setsid)
readonly setsid
started=()
declare -A in_session=()

say() { printf '%s\n' "$*"; }

warn() { printf '%s: %s\n' "$self" "$*" >&2; }

usage() {
  cat >&2 <<EOF
usage: $self start [--foreground] [PROCESS...]
       $self stop | status [PROCESS...]
       $self logs [-f] [PROCESS...]
       $self test
       $self bench [ARGUMENT...]
processes: ${processes[*]-}
EOF
  exit 2
}

# Sets state, group, session and ticks (its start, since boot) of process $1; fails when there is none.
look() {
  local line=''
  { IFS= read -r -d '' line <"/proc/$1/stat"; } 2>/dev/null || true
  [[ -n $line ]] || return 1
  # The name before the last ")" may hold anything; what follows are letters and numbers.
  # shellcheck disable=SC2206
  local fields=(${line##*) })
  state=${fields[0]} session=${fields[3]} ticks=${fields[19]}
}

# Sets pid, since and token from what `spawn` wrote about process $1; fails when that says nothing of this boot.
recorded() {
  local written='' from=''
  pid='' since='' token=''
  [[ -f $run/$1.pid ]] || return 1
  read -r written since from token <"$run/$1.pid" || return 1
  [[ $written =~ ^[1-9][0-9]+$ && $since =~ ^[0-9]+$ && $from == "$boot" && -n $token ]] || return 1
  pid=$written
}

# Fails unless process $1 itself runs: the same number and the same start, so that no stranger is taken for it.
runs() {
  recorded "$1" && look "$pid" && [[ $state != [ZX] && $ticks == "$since" ]]
}

# Sets in_session: the processes of each session and their starts.
scan() {
  local entry
  in_session=()
  for entry in /proc/[1-9]*; do
    if look "${entry#/proc/}" && [[ $state != [ZX] ]]; then in_session[$session]+="${entry#/proc/}:$ticks "; fi
  done
}

# Sets members: all that ran of process $1 when `scan` looked, its children included, also those that left its session.
find_members() {
  local entry candidate
  members=()
  recorded "$1" || return 0
  # While anything of a session lives, its number is given to nobody; a newer process of that number is a stranger.
  if ! look "$pid" || [[ $ticks == "$since" ]]; then
    for entry in ${in_session[$pid]-}; do
      if ((${entry#*:} >= since)); then members+=("${entry%:*}"); fi
    done
  fi
  if ((${#members[@]})); then return; fi
  while IFS= read -r entry; do
    candidate=${entry#/proc/}
    candidate=${candidate%/environ}
    if look "$candidate" && [[ $state != [ZX] ]]; then members+=("$candidate"); fi
  done < <(grep -szlxF -e "PDPANEL_RUN_ID=$token" /proc/[1-9]*/environ || true)
}

# Fails unless somebody on this host listens on port $1; for PORT@ADDRESS, at that address or at all of them.
listens() {
  local wanted own='' table address status parts
  printf -v wanted ':%04X' "${1%@*}"
  if [[ $1 == *@* ]]; then
    # As the kernel of a little-endian machine writes it.
    IFS=. read -r -a parts <<<"${1#*@}"
    printf -v own '%02X%02X%02X%02X' "${parts[3]}" "${parts[2]}" "${parts[1]}" "${parts[0]}"
  fi
  for table in /proc/net/tcp /proc/net/tcp6; do
    [[ -r $table ]] || continue
    while read -r _ address _ status _; do
      [[ $status == 0A && $address == *"$wanted" ]] || continue
      address=${address%:*}
      # Zeros alone are all addresses.
      if [[ -z $own || $address =~ ^0+$ || $address == *"$own" ]]; then return 0; fi
    done <"$table"
  done
  return 1
}

