// The client of openapi-generator (typescript-fetch).
import {
  AccountsApi,
  ClustersApi,
  Configuration,
  JobState,
  JobSubject,
  JobType,
  JobsApi,
  ProblemFromJSON,
  ResponseError,
  Scope,
} from './generated';
import type { Problem } from './generated';

const basePath = process.env.MANAGER_URL ?? 'http://127.0.0.1:8080';
const password = process.env.MANAGER_PASSWORD ?? 'dragonfly';
const name = 'client-typescript';

function as(token?: string): Configuration {
  return new Configuration({ basePath, accessToken: token });
}

function ensure(good: boolean, surprise: string): asserts good {
  if (!good) throw new Error(surprise);
}

function done(step: string): void {
  console.log(`typescript: ${step}`);
}

/** What the manager says is wrong; the call must fail. */
async function problem(call: Promise<unknown>): Promise<Problem> {
  try {
    await call;
  } catch (error) {
    if (error instanceof ResponseError) return ProblemFromJSON(await error.response.json());
    throw error;
  }
  throw new Error('a call that must fail did not');
}

/** Names on all pages, one a page, as the `Link` header leads. */
async function namesOfPages(clusters: ClustersApi): Promise<string[]> {
  const names: string[] = [];
  for (let page = 1; ; page += 1) {
    const answer = await clusters.listClustersRaw({ page, perPage: 1 });
    const onPage = await answer.value();
    ensure(onPage.length <= 1, `page ${page} has ${onPage.length} clusters`);
    names.push(...onPage.map((cluster) => cluster.name));
    if (!answer.raw.headers.get('link')?.includes('rel=next')) return names;
  }
}

/** A job that is asked for until it ends. */
async function preheat(jobs: JobsApi): Promise<void> {
  const args = { type: JobSubject.File, url: process.env.PREHEAT_URL ?? 'https://example.com/' };
  let job = await jobs.createJob({ createJobRequest: { type: JobType.Preheat, args } });
  const until = Date.now() + 60_000;
  while (job.state !== JobState.Success && job.state !== JobState.Failure) {
    ensure(Date.now() < until, `the job is ${job.state}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
    job = await jobs.getJob({ id: job.id });
  }
  ensure(job.state === JobState.Success, `the job failed: ${JSON.stringify(job.result)}`);
  await jobs.deleteJob({ id: job.id });
  const gone = await problem(jobs.getJob({ id: job.id }));
  ensure(gone.code === 'not_found', `the job is still there: ${JSON.stringify(gone)}`);
  done('file preheated, job deleted');
}

async function main(): Promise<void> {
  const session = await new AccountsApi(as()).signIn({ signInRequest: { name: 'root', password } });
  ensure(session.user.name === 'root', `signed in as ${session.user.name}`);
  ensure(session.expire > new Date(), `the session ended at ${session.expire.toISOString()}`);
  const accounts = new AccountsApi(as(session.token));
  const clusters = new ClustersApi(as(session.token));
  done(`signed in as ${session.user.name}`);

  const scopes = { idc: 'ts-1|ts-2', cidrs: ['10.1.0.0/16'], hostnames: ['^ts-'] };
  const made = await clusters.createCluster({ createClusterRequest: { name, bio: 'made by a test', scopes } });
  ensure(made.name === name && made.scopes.cidrs?.[0] === '10.1.0.0/16', `made ${JSON.stringify(made)}`);
  ensure(made.peerClusterConfig.loadLimit === 200, `its peers' load limit is ${made.peerClusterConfig.loadLimit}`);
  done(`cluster ${made.id} made`);

  const { id } = made;
  const changed = await clusters.updateCluster({ id, updateClusterRequest: { bio: 'changed', strict: true } });
  ensure(changed.bio === 'changed' && changed.strict, `changed to ${JSON.stringify(changed)}`);
  ensure(changed.scopes.idc === scopes.idc, `the change lost the scopes: ${JSON.stringify(changed.scopes)}`);
  done('cluster changed');

  const names = await namesOfPages(clusters);
  ensure(names.length > 1 && names.includes(name), `the pages have ${names.join(', ')}`);
  done(`${names.length} pages of clusters`);

  await preheat(new JobsApi(as(session.token)));

  const expiredAt = new Date(Date.now() + 3_600_000);
  const token = await accounts.createPersonalAccessToken({
    createPersonalAccessTokenRequest: { name, scopes: [Scope.Cluster], expiredAt },
  });
  ensure(typeof token.token === 'string', 'the new token has no secret');
  const program = as(token.token);
  const read = await new ClustersApi(program).getCluster({ id });
  ensure(read.name === name, `the token read ${read.name}`);
  const refused = await problem(new AccountsApi(program).listUsers({}));
  ensure(refused.code === 'forbidden' || refused.code === 'unauthenticated', `refused with ${refused.code}`);
  done(`personal access token reads the cluster, and no users: ${refused.code}`);

  await accounts.deletePersonalAccessToken({ id: token.id });
  await clusters.deleteCluster({ id });
  const gone = await problem(clusters.getCluster({ id }));
  ensure(gone.status === 404 && gone.code === 'not_found', `after deletion: ${JSON.stringify(gone)}`);
  done('token and cluster deleted');

  await accounts.signOut();
  const out = await problem(accounts.getSession());
  ensure(out.code === 'unauthenticated', `after signing out: ${JSON.stringify(out)}`);
  done('signed out');
}

main().catch(async (error: unknown) => {
  console.error('typescript:', error, error instanceof ResponseError ? await error.response.text() : '');
  process.exit(1);
});
