name=$1 url=$2 seconds=$3

until answers "$url"; do
  if ((SECONDS >= seconds)); then
    printf '%s did not answer %s within %s s\n' "$name" "$url" "$seconds" >&2
    exit 1
  fi
  sleep 0.2
done
