#!/usr/bin/env bash
# wait-for.sh NAME URL SECONDS: returns when a GET of URL is answered with 200, and fails when that takes longer.
set -euo pipefail

name=$1 url=$2 seconds=$3
rest=${url#http://}
path=/
if [[ $rest == */* ]]; then path=/${rest#*/}; fi
rest=${rest%%/*}
host=${rest%:*} port=${rest##*:}
host=${host#[} host=${host%]}

answers() {
  if command -v curl >/dev/null; then
    [[ $(curl -q -g -s -o /dev/null --noproxy '*' --max-time 5 -w '%{http_code}' "$url" 2>/dev/null) == 200 ]]
    return
  fi
  # A shell of its own, since a connection that nobody answers cannot be given up otherwise.
  # shellcheck disable=SC2016
  timeout 5 bash -c '
    exec 3<>"/dev/tcp/$1/$2" || exit 1
    printf "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" "$3" "$4" >&3
    IFS= read -r line <&3 && [[ $line == HTTP/*\ 200* ]]
  ' probe "$host" "$port" "$path" "$rest" 2>/dev/null
}

until answers; do
  if ((SECONDS >= seconds)); then
    printf '%s did not answer %s within %s s\n' "$name" "$url" "$seconds" >&2
    exit 1
  fi
  sleep 0.2
done
