#!/usr/bin/env bash
# As people script preheats of Dragonfly (v2): a personal access token, an image and a file through /oapi/v1/jobs, and
# asking until each is SUCCESS. Nothing in it knows that this is another manager.
#
#   MANAGER  where it answers (default: http://localhost:8080)
#   IMAGE    the URL of its manifest
#   FILE     the URL of a file
set -euo pipefail
# shellcheck source=tests/readme/incumbent_calls.sh
source "$(dirname "${BASH_SOURCE[0]}")/incumbent_calls.sh"
# preheat ARGS: until it has ended.
preheat() {
  local id state
  id=$(call POST /oapi/v1/jobs "{\"type\": \"preheat\", \"args\": $1, \"scheduler_cluster_ids\": [1]}" | field id)
  for _ in $(seq 300); do
    state=$(call GET "/oapi/v1/jobs/$id" | field state)
    [[ $state != SUCCESS ]] || return 0
    [[ $state != FAILURE ]] || break
    sleep 0.2
  done
  echo "job $id is $state: $(call GET "/oapi/v1/jobs/$id")" >&2
  return 1
}

token=$(curl -sS -X POST "$manager/api/v1/users/signin" -H 'Content-Type: application/json' \
  -d '{"name":"root","password":"dragonfly"}' | field token)
token=$(call POST /api/v1/personal-access-tokens '{
  "name": "preheat", "bio": "", "scopes": ["job"], "expired_at": "2099-01-01T00:00:00Z", "user_id": 1
}' | field token)

preheat "{
  \"type\": \"image\", \"url\": \"$IMAGE\", \"platform\": \"linux/amd64\",
  \"scope\": \"all_peers\", \"concurrent_task_count\": 4, \"timeout\": 60000000000
}"
preheat "{
  \"type\": \"file\", \"url\": \"$FILE\", \"filtered_query_params\": \"Expires&Signature\", \"headers\": {},
  \"scope\": \"all_peers\", \"percentage\": 100
}"
call GET '/oapi/v1/jobs?page=1&per_page=10&state=SUCCESS' | python3 -c '
import json, sys
jobs = json.load(sys.stdin)
assert [job["args"]["type"] for job in jobs] == ["file", "image"], jobs
for job in jobs:
    assert job["result"]["state"] == "SUCCESS" and job["result"]["job_states"][0]["results"], job'
echo "all of it works"
