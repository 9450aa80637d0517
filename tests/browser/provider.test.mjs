// Signing in with a real provider that speaks OpenID Connect (oidc-provider, which is certified), in a real browser, at a
// running manager (MANAGER_URL), fresh: root's first password.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';

import Provider from 'oidc-provider';

import { openWindow } from './browser.mjs';

const MANAGER_URL = process.env.MANAGER_URL ?? 'http://127.0.0.1:8080';
const CALLBACK = `${MANAGER_URL}/api/v1/users/signin/acme/callback`;
const CLIENT = { client_id: 'dragonfly', client_secret: 'a-secret-of-the-test-0123456789' };

/** Lets everybody in under any name; ends with `close()`. */
async function startProvider() {
  const server = createServer();
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{ ...CLIENT, redirect_uris: [CALLBACK] }],
    claims: { openid: ['sub'], profile: ['preferred_username'], email: ['email'] },
    findAccount: (_, sub) => ({
      accountId: sub,
      claims: () => ({ sub, preferred_username: sub, email: `${sub}@example.com` }),
    }),
  });
  server.on('request', provider.callback());
  const close = () => {
    server.closeAllConnections();
    return new Promise((closed) => server.close(closed));
  };
  return { issuer, close };
}

async function post(path, body, token) {
  const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) };
  const answer = await fetch(`${MANAGER_URL}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  assert.equal(answer.status, 200, await answer.clone().text());
  return answer.json();
}

test('whoever a provider lets in is a guest here', { timeout: 60_000 }, async () => {
  const provider = await startProvider();
  const window = await openWindow(MANAGER_URL);
  try {
    const { token } = await post('/api/v1/users/signin', { name: 'root', password: 'dragonfly' });
    await post('/api/v1/oauth', { name: 'acme', ...CLIENT, redirect_url: CALLBACK, issuer: provider.issuer }, token);

    const { page } = window;
    await page.goto('/api/v1/users/signin/acme');
    assert.equal(new URL(page.url()).origin, provider.issuer, 'the provider asks who that is');
    await page.locator('input[name=login]').fill('alice');
    await page.locator('input[name=password]').fill('any');
    await page.locator('button[type=submit]').click();
    // The provider asks whether the manager may know.
    await page.locator('button[type=submit]').click();
    await page.waitForURL(`${MANAGER_URL}/**`);
    const session = await page.evaluate(async () => (await fetch('/api/v1/session')).json());
    assert.deepEqual([session.name, session.email, session.roles], ['alice', 'alice@example.com', ['guest']]);
    assert.equal(await page.evaluate(() => document.cookie), '', 'no script sees a cookie');
  } finally {
    await window.close();
    await provider.close();
  }
});
