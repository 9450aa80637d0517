# How both scripts for Dragonfly's manager call it: sourced by them.
# shellcheck shell=bash
manager=${MANAGER:-http://localhost:8080}
token=

# call METHOD PATH [BODY]: the body of the answer; anything but 200 is an error, as in their clients.
call() {
  local answer status
  answer=$(curl -sS -w '\n%{http_code}' -X "$1" "$manager$2" -H "Authorization: Bearer $token" \
    -H 'Content-Type: application/json' ${3:+-d "$3"})
  status=${answer##*$'\n'}
  if [[ $status != 200 ]]; then
    echo "$1 $2 answered $status: ${answer%$'\n'*}" >&2
    exit 1
  fi
  echo "${answer%$'\n'*}"
}
# field NAME: of the JSON object on standard input.
field() {
  python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}
