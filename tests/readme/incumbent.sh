#!/usr/bin/env bash
# As people script Dragonfly's manager (v2): sign in, a cluster with its scopes, a personal access token, pages, and
# deleting it all. Nothing in it knows that this is another manager.
#
#   MANAGER  where it answers (default: http://localhost:8080)
set -euo pipefail
# shellcheck source=tests/readme/incumbent_calls.sh
source "$(dirname "${BASH_SOURCE[0]}")/incumbent_calls.sh"

[[ $(curl -sS -o /dev/null -w '%{http_code}' "$manager/healthy") == 200 ]]
token=$(curl -sS -X POST "$manager/api/v1/users/signin" -H 'Content-Type: application/json' \
  -d '{"name":"root","password":"dragonfly"}' | field token)

cluster=$(call POST /api/v1/clusters '{
  "name": "cluster-2", "bio": "the second one", "is_default": false,
  "scopes": {"idc": "idc-2", "location": "asia|china", "cidrs": ["10.32.0.0/13"], "hostnames": ["gpu-.*"]},
  "scheduler_cluster_config": {"candidate_parent_limit": 4, "filter_parent_limit": 40, "job_rate_limit": 10},
  "seed_peer_cluster_config": {"load_limit": 300},
  "peer_cluster_config": {"load_limit": 50}
}')
id=$(field id <<<"$cluster")
[[ $(field scheduler_cluster_id <<<"$cluster") == "$(call GET "/api/v1/scheduler-clusters/$id" | field id)" ]]
[[ $(field seed_peer_cluster_id <<<"$cluster") == "$(call GET "/api/v1/seed-peer-clusters/$id" | field id)" ]]

call PATCH "/api/v1/clusters/$id" '{"bio": "still the second", "peer_cluster_config": {"load_limit": 60}}' >/dev/null
call GET "/api/v1/clusters/$id" | python3 -c '
import json, sys
cluster = json.load(sys.stdin)
assert cluster["bio"] == "still the second" and cluster["peer_cluster_config"]["load_limit"] == 60, cluster
assert cluster["scopes"]["cidrs"] == ["10.32.0.0/13"] and cluster["scheduler_cluster_config"]["filter_parent_limit"] == 40, cluster'

made=$(call POST /api/v1/personal-access-tokens '{
  "name": "automation", "bio": "", "scopes": ["job", "cluster"], "expired_at": "2099-01-01T00:00:00Z", "user_id": 1
}')
pat=$(field token <<<"$made")

# Page by page, as long as there is a next one.
python3 - "$manager" "$pat" <<'PYTHON'
import json, re, sys, urllib.request

manager, pat = sys.argv[1:]
path, names = "/oapi/v1/clusters?page=1&per_page=1", []
while path:
    request = urllib.request.Request(manager + path, headers={"Authorization": "Bearer " + pat})
    with urllib.request.urlopen(request) as answer:
        page = json.load(answer)
        links = dict((rel, url) for url, rel in re.findall(r"<([^>]*)>;\s*rel=\"?(\w+)", answer.headers["Link"]))
    assert len(page) == 1, page
    names += [cluster["name"] for cluster in page]
    path = links.get("next") if links.get("next") != path else None
assert names == ["cluster-1", "cluster-2"], names
PYTHON

token=$pat
call DELETE "/oapi/v1/clusters/$id"
token=$(curl -sS -X POST "$manager/api/v1/users/signin" -H 'Content-Type: application/json' \
  -d '{"name":"root","password":"dragonfly"}' | field token)
call DELETE "/api/v1/personal-access-tokens/$(field id <<<"$made")"
call POST /api/v1/users/signout
echo "all of it works"
