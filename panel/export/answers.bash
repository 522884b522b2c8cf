# Fails unless a GET of $1 is answered with 200.
answers() {
  local rest host port path
  if command -v curl >/dev/null; then
    [[ $(curl -q -g -s -o /dev/null --noproxy '*' --max-time 5 -w '%{http_code}' "$1" 2>/dev/null) == 200 ]]
    return
  fi
  rest=${1#http://}
  path=/
  if [[ $rest == */* ]]; then path=/${rest#*/}; fi
  rest=${rest%%/*}
  host=${rest%:*} port=${rest##*:}
  host=${host#[} host=${host%]}
  # A shell of its own, since a connection that nobody answers cannot be given up otherwise.
  # shellcheck disable=SC2016
  timeout 5 bash -c '
    exec 3<>"/dev/tcp/$1/$2" || exit 1
    printf "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" "$3" "$4" >&3
    IFS= read -r line <&3 && [[ $line == HTTP/*\ 200* ]]
  ' probe "$host" "$port" "$path" "$rest" 2>/dev/null
}

