"""What a document cannot say, done to requests before they leave."""

import itertools
import json
import os
import re
import time
import urllib.error
import urllib.request

import schemathesis

ENDING = ["POST /api/v1/users/signout", "POST /api/v1/users/refresh_token"]
SIGN_IN = "POST /api/v1/users/signin"
RESET_PASSWORD = "POST /api/v1/users/{id}/reset_password"
DELETE_TASK = "DELETE /v1/tasks/{task_id}"
ACCOUNT = json.loads(os.environ["FUZZ_ACCOUNT"])
NEEDED = f"Bearer {os.environ['FUZZ_SESSION']}"
HOST, TASK, SPARE_TASK = os.environ["FUZZ_HOST"], os.environ["FUZZ_TASK"], os.environ["FUZZ_SPARE_TASK"]
OWN = {"host_id": HOST, "peer_id": HOST, "task_id": TASK}
IS_ID = re.compile(r"[A-Za-z0-9._:-]{1,253}")
DIGITS = re.compile(r"[0-9]{19,100}")
INT64_MAX = 2**63 - 1
INT32_MAX, UINT32_MAX = 2**31 - 1, 2**32 - 1
turns = itertools.cycle([True, False])


@schemathesis.hook
def before_call(context, case, kwargs):
    # No call ends the session that all others need, shuts out its account, or deletes what others read.
    if case.operation.label in ENDING and (case.headers or {}).get("Authorization") == NEEDED:
        case.headers["Authorization"] = f"Bearer {another_session()}"
    if case.operation.label == SIGN_IN and isinstance(case.body, dict) and case.body.get("name") == ACCOUNT["name"]:
        # Its name is in what the manager answers, and so in what is tried next.
        case.body["name"] = "nobody"
    if case.operation.label == RESET_PASSWORD:
        # One's own takes the old password, and wrong ones count. Nobody needs that of user 1, root, any more.
        case.path_parameters = replace(case.path_parameters, is_this_account, 1)
    if case.operation.label == DELETE_TASK:
        case.path_parameters = replace(case.path_parameters, is_needed_task, SPARE_TASK)
    elif next(turns):
        case.path_parameters = replace_ids(case.path_parameters)
        case.body = replace_ids(case.body)
    # The documents say int64 of all that has 64 bits, and int32 of what has 32; what is never negative takes twice as
    # much. So what is too much for those is tried as no number at all.
    case.query = replace(case.query, is_beyond_signed, "beyond")
    case.body = replace(case.body, is_beyond_signed, "beyond")


def is_this_account(value):
    return str(value) == os.environ["FUZZ_ACCOUNT_ID"]


def is_needed_task(value):
    return value == TASK


def is_beyond_signed(value):
    if isinstance(value, str):
        return DIGITS.fullmatch(value) is not None and int(value) > INT64_MAX
    return isinstance(value, (int, float)) and (value > INT64_MAX or INT32_MAX < value <= UINT32_MAX)


def replace(value, is_wrong, by):
    """Wherever it is within."""
    if isinstance(value, dict):
        return {name: replace(one, is_wrong, by) for name, one in value.items()}
    if isinstance(value, list):
        return [replace(one, is_wrong, by) for one in value]
    return by if is_wrong(value) else value


def replace_ids(value):
    """By ones that the credential speaks for, or everything would be 403 or 404; what is no id stays wrong."""
    if isinstance(value, list):
        return [replace_ids(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: OWN[name] if is_id(name, one) else replace_ids(one) for name, one in value.items()}


def is_id(name, value):
    return name in OWN and isinstance(value, str) and IS_ID.fullmatch(value) is not None


def another_session():
    request = urllib.request.Request(
        f"{os.environ['MANAGER_URL']}/api/v1/users/signin",
        json.dumps(ACCOUNT).encode(),
        {"content-type": "application/json"},
    )
    for _ in range(5):
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)["token"]
        except urllib.error.HTTPError as error:
            # Only so many passwords are checked at once.
            if error.code != 429:
                raise
            time.sleep(int(error.headers.get("Retry-After", 1)))
    raise RuntimeError("the manager takes no sign-in any more")
