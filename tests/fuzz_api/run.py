"""Schemathesis against a manager, its scheduler and its dfdaemons.

MANAGER_URL and DFDAEMON_URL (for programs of the node) say where they are. The manager is fresh: root's password is
`dragonfly`. The rest is found through the manager, as a node finds it.
"""

import collections
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
DOCUMENTS = HERE / "../../openapi"
MANAGER = os.environ["MANAGER_URL"]
DFDAEMON = os.environ["DFDAEMON_URL"]
FUZZER = {"name": "fuzzer", "password": "fuzzer-fuzzer"}
PLACE = {"hostname": "fuzz", "ip": "127.0.0.1"}
# Its other listener has these, for peers.
SEED_OPERATIONS = ["fetch_task_content", "resolve_tag"]
# Both have these.
PEER_OPERATIONS = ["get_task_content", "list_pieces"]


def call(method, url, body=None, token=None):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    if not isinstance(body, bytes):
        headers["content-type"] = "application/json"
        body = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method)) as answer:
        text = answer.read()
        return json.loads(text) if text else None


def sign_in(who):
    return call("POST", f"{MANAGER}/api/v1/users/signin", who)["token"]


def store(content):
    """The id of the task."""
    digest = hashlib.sha256(content).hexdigest()
    return call("POST", f"{DFDAEMON}/v1/tasks/import?digest=sha256:{digest}", content)["id"]


def prepare():
    """An account, a membership and contents of its own; what schemathesis.toml asks for, and the addresses."""
    root = sign_in({"name": "root", "password": "dragonfly"})
    # Not root: its name is the document's example, and wrong passwords would shut it out.
    user = call("POST", f"{MANAGER}/api/v1/users/signup", {**FUZZER, "email": "fuzzer@example.com"}, root)
    call("PUT", f"{MANAGER}/api/v1/users/{user['id']}/roles/root", None, root)
    session = sign_in(FUZZER)
    join_token = call("POST", f"{MANAGER}/api/v1/join-tokens", {"name": "fuzz"}, session)["token"]
    found = call("POST", f"{MANAGER}/api/v1/discovery", {"place": PLACE}, join_token)
    task, spare = store(b"for fuzzing"), store(b"to delete")
    values = {
        "FUZZ_ACCOUNT": json.dumps(FUZZER),
        "FUZZ_ACCOUNT_ID": str(user["id"]),
        "FUZZ_SESSION": session,
        "FUZZ_JOIN_TOKEN": join_token,
        "FUZZ_CREDENTIAL": found["membership"]["credential"],
        "FUZZ_HOST": f"fuzz-{PLACE['ip']}-4000",
        "FUZZ_TASK": task,
        "FUZZ_SPARE_TASK": spare,
    }
    scheduler = found["schedulers"][0]["url"]
    hosts = call("GET", f"{scheduler}/v1/hosts", token=values["FUZZ_CREDENTIAL"])
    holder = call("GET", f"{scheduler}/v1/tasks/{task}", token=values["FUZZ_CREDENTIAL"])["peers"][0]["host_id"]
    peer = next(host["url"] for host in hosts if host["id"] == holder)
    return values, scheduler, found["seed_peers"][0]["url"], peer


def run(name, url, values, *options):
    """Whether nothing is wrong; prints how much was answered how."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.har"
        document = name.split()[0]
        command = [sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", HERE / "schemathesis.toml", "run"]
        command += [DOCUMENTS / f"{document}.json", "--url", url, "--report", "har", "--report-har-path", report]
        environment = {**os.environ, **values, "HYPOTHESIS_STORAGE_DIRECTORY": folder}
        ended = subprocess.run([*command, *options], env=environment, cwd=HERE, capture_output=True, text=True)
        if ended.returncode != 0:
            print(ended.stdout, ended.stderr, file=sys.stderr)
        entries = json.loads(report.read_text())["log"]["entries"]
    answers = collections.Counter(entry["response"]["status"] for entry in entries)
    took = time.monotonic() - start
    print(f"{name}: {len(entries)} requests in {took:.0f} s, answers {dict(sorted(answers.items()))}", flush=True)
    return ended.returncode == 0


def only(operations):
    return [word for operation in operations for word in ("--include-operation-id", operation)]


def without(operations):
    return [word for operation in operations for word in ("--exclude-operation-id", operation)]


def main():
    values, scheduler, seed, peer = prepare()
    good = [
        run("dfdaemon for programs", DFDAEMON, values, *without(SEED_OPERATIONS)),
        run("dfdaemon for peers", peer, values, *only(PEER_OPERATIONS)),
        run("dfdaemon of a seed peer", seed, values, *only(SEED_OPERATIONS)),
        run("scheduler", scheduler, values),
        run("manager", MANAGER, values),
    ]
    try:
        call("GET", f"{MANAGER}/api/v1/session", token=values["FUZZ_SESSION"])
    except urllib.error.HTTPError as error:
        sys.exit(f"the session was lost on the way ({error}): what came after it was not tried")
    sys.exit(0 if all(good) else 1)


main()
