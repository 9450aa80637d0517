// The types of openapi-typescript, with openapi-fetch: no generated code runs, the compiler checks paths and bodies.
import createClient from 'openapi-fetch';
import type { components, paths } from './manager';

type Cluster = components['schemas']['Cluster'];

const baseUrl = process.env.MANAGER_URL ?? 'http://127.0.0.1:8080';
const password = process.env.MANAGER_PASSWORD ?? 'dragonfly';
const client = createClient<paths>({ baseUrl });

/** The body of a success; `T` is what the document says of the operation. */
function body<T>(answer: { data?: T; error?: components['schemas']['Problem'] }): T {
  if (answer.error) throw new Error(`${answer.error.code}: ${answer.error.detail}`);
  if (answer.data === undefined) throw new Error('a success without a body');
  return answer.data;
}

async function main(): Promise<void> {
  const session = body(await client.POST('/api/v1/users/signin', { body: { name: 'root', password } }));
  client.use({
    onRequest({ request }) {
      request.headers.set('authorization', `Bearer ${session.token}`);
      return request;
    },
  });
  const made = body(await client.POST('/api/v1/clusters', { body: { name: 'client-types', scopes: { idc: 'types' } } }));
  const path = { id: made.id };
  const changed: Cluster = body(
    await client.PATCH('/api/v1/clusters/{id}', { params: { path }, body: { bio: 'changed', scopes: null } }),
  );
  if (changed.bio !== 'changed' || changed.scopes.idc !== 'types') throw new Error(JSON.stringify(changed));
  const named = body(await client.GET('/api/v1/clusters', { params: { query: { name: made.name } } }));
  if (named.length !== 1) throw new Error(`${named.length} clusters are called ${made.name}`);
  const removed = await client.DELETE('/api/v1/clusters/{id}', { params: { path } });
  const out = await client.POST('/api/v1/users/signout');
  if (!removed.response.ok || !out.response.ok) throw new Error(JSON.stringify(removed.error ?? out.error));
  console.log(`types: cluster ${made.id} made, changed, found by its name and deleted`);
}

main().catch((error: unknown) => {
  console.error('types:', error);
  process.exit(1);
});
