"""The client of openapi-generator (python) against a manager."""

import datetime
import os
import sys
import time

from dragonfly_manager import (
    AccountsApi,
    ApiClient,
    ApiException,
    ClustersApi,
    Code,
    Configuration,
    CreateClusterRequest,
    CreateJobRequest,
    CreatePersonalAccessTokenRequest,
    JobArgs,
    JobState,
    JobSubject,
    JobType,
    JobsApi,
    Scope,
    Scopes,
    SignInRequest,
    UpdateClusterRequest,
)

URL = os.environ.get("MANAGER_URL", "http://127.0.0.1:8080")
PASSWORD = os.environ.get("MANAGER_PASSWORD", "dragonfly")
NAME = "client-python"
# What a daemon of the cluster may fetch.
PREHEAT = os.environ.get("PREHEAT_URL", "https://example.com/")


def client(token=None):
    return ApiClient(Configuration(host=URL, access_token=token))


def ensure(good, surprise):
    if not good:
        sys.exit(f"python: {surprise}")


def done(step):
    print(f"python: {step}", flush=True)


def problem(call, *args):
    """What the manager says is wrong; the call must fail."""
    try:
        call(*args)
    except ApiException as error:
        return error.data
    sys.exit(f"python: {call.__name__}{args} must fail and did not")


def names_of_pages(clusters):
    """Names on all pages, one a page, as the `Link` header leads."""
    names, page = [], 1
    while True:
        answer = clusters.list_clusters_with_http_info(page=page, per_page=1)
        ensure(len(answer.data) <= 1, f"page {page} has {len(answer.data)} clusters")
        names += [cluster.name for cluster in answer.data]
        if "rel=next" not in answer.headers.get("link", ""):
            return names
        page += 1


def preheat(jobs):
    """A job that is asked for until it ends."""
    args = JobArgs(type=JobSubject.FILE, url=PREHEAT)
    job = jobs.create_job(CreateJobRequest(type=JobType.PREHEAT, args=args))
    until = time.monotonic() + 60
    while job.state not in (JobState.SUCCESS, JobState.FAILURE):
        ensure(time.monotonic() < until, f"the job is {job.state}")
        time.sleep(0.1)
        job = jobs.get_job(job.id)
    ensure(job.state == JobState.SUCCESS, f"the job failed: {job.result}")
    jobs.delete_job(job.id)
    ensure(problem(jobs.get_job, job.id).code == Code.NOT_FOUND, "the job is still there")
    done("file preheated, job deleted")


def main():
    session = AccountsApi(client()).sign_in(SignInRequest(name="root", password=PASSWORD))
    now = datetime.datetime.now(datetime.timezone.utc)
    ensure(session.user.name == "root", f"signed in as {session.user.name}")
    ensure(session.expire > now, f"the session ended at {session.expire}")
    accounts, clusters = AccountsApi(client(session.token)), ClustersApi(client(session.token))
    done(f"signed in as {session.user.name}")

    scopes = Scopes(idc="py-1|py-2", cidrs=["10.2.0.0/16"], hostnames=["^py-"])
    made = clusters.create_cluster(CreateClusterRequest(name=NAME, bio="made by a test", scopes=scopes))
    ensure(made.name == NAME and made.scopes.cidrs == ["10.2.0.0/16"], f"made {made}")
    ensure(made.peer_cluster_config.load_limit == 200, f"made {made}")
    done(f"cluster {made.id} made")

    changed = clusters.update_cluster(made.id, UpdateClusterRequest(bio="changed", strict=True))
    ensure(changed.bio == "changed" and changed.strict, f"changed to {changed}")
    ensure(changed.scopes == made.scopes, f"the change lost the scopes: {changed.scopes}")
    done("cluster changed")

    names = names_of_pages(clusters)
    ensure(len(names) > 1 and NAME in names, f"the pages have {names}")
    done(f"{len(names)} pages of clusters")

    preheat(JobsApi(client(session.token)))

    expired_at = now + datetime.timedelta(hours=1)
    request = CreatePersonalAccessTokenRequest(name=NAME, scopes=[Scope.CLUSTER], expired_at=expired_at)
    token = accounts.create_personal_access_token(request)
    ensure(token.token, "the new token has no secret")
    read = ClustersApi(client(token.token)).get_cluster(made.id)
    ensure(read.name == NAME, f"the token read {read}")
    refused = problem(AccountsApi(client(token.token)).list_users)
    ensure(refused.code in ("forbidden", "unauthenticated"), f"refused with {refused}")
    done(f"personal access token reads the cluster, and no users: {refused.code.value}")

    accounts.delete_personal_access_token(token.id)
    clusters.delete_cluster(made.id)
    gone = problem(clusters.get_cluster, made.id)
    ensure(gone.status == 404 and gone.code == "not_found", f"after deletion: {gone}")
    done("token and cluster deleted")

    accounts.sign_out()
    out = problem(accounts.get_session)
    ensure(out.code == "unauthenticated", f"after signing out: {out}")
    done("signed out")


main()
