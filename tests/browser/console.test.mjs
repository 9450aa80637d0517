// The console in a real browser against a running manager (MANAGER_URL), fresh: one cluster, root's first password.
// Each test has a browser of its own, so that none depends on another's session.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';

import { AxeBuilder } from '@axe-core/playwright';

import { openWindow } from './browser.mjs';

const MANAGER_URL = process.env.MANAGER_URL ?? 'http://127.0.0.1:8080';
const SHOTS = process.env.SHOTS;
const PASSWORD = 'dragonfly';
const PHONE = { width: 390, height: 844 };

/** A test with its own window, which must end without a script error or a breach of the CSP. */
function inWindow(name, options, steps) {
  test(name, { timeout: 60_000 }, async () => {
    const window = await openWindow(MANAGER_URL, options);
    try {
      await steps(window.page, window);
      assert.deepEqual(window.troubles, []);
    } finally {
      await window.close();
    }
  });
}

async function signIn(page, path = '/') {
  await page.goto(path);
  await page.getByLabel('Account').fill('root');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Clusters', level: 1 }).waitFor();
}

/** The list of clusters, whatever its query. */
const CLUSTERS = (url) => new URL(url).pathname === '/api/v1/clusters';

const clusterOne = (page) => page.getByRole('article', { name: 'cluster-1' });

async function shoot(page, name) {
  if (!SHOTS) return;
  await mkdir(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`) });
}

async function assertAccessible(page, where) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const grave = violations.filter((violation) => ['serious', 'critical'].includes(violation.impact));
  const words = grave.map((violation) => `${violation.id}: ${violation.nodes.map((node) => node.html).join(' ')}`);
  assert.deepEqual(words, [], where);
}

async function assertNoSidewaysScroll(page, where) {
  for (const width of [360, 390, 768, 1024, 1280, 1440, 1920, 2560]) {
    await page.setViewportSize({ width, height: 900 });
    const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(over <= 0, `${where} is ${over} px too wide at ${width} px`);
  }
}

inWindow('a visitor is sent to the sign-in page and told what is wrong', {}, async (page) => {
  await page.goto('/');
  await page.waitForURL('**/sign-in');
  assert.equal(await page.title(), 'Sign in · Dragonfly');

  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('Enter the name of your account.').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), 'account');

  await page.getByLabel('Account').fill('root');
  await page.getByLabel('Password', { exact: true }).fill('wrong');
  const answer = page.waitForResponse('**/api/v1/users/signin');
  await page.getByRole('button', { name: 'Sign in' }).click();
  const { detail } = await (await answer).json();
  const error = page.getByRole('alert');
  await error.waitFor();
  assert.equal(await error.innerText(), detail, "the API's own words");
  const password = page.getByLabel('Password', { exact: true });
  assert.equal(await password.getAttribute('aria-invalid'), 'true');
  assert.equal(await password.getAttribute('aria-describedby'), await error.getAttribute('id'));
  await shoot(page, 'sign-in-wrong-light');

  await page.getByRole('button', { name: 'Show the password' }).click();
  assert.equal(await password.getAttribute('type'), 'text');
  await password.fill('other');
  assert.equal(await error.count(), 0, 'the error goes as soon as one types');
});

inWindow('root signs in, sees cluster-1, reloads, and signs out', {}, async (page, { context }) => {
  await signIn(page);
  assert.equal(new URL(page.url()).pathname, '/clusters');
  assert.equal(await page.title(), 'Clusters · Dragonfly');
  assert.equal(await page.evaluate(() => document.activeElement.tagName), 'H1', 'the focus is where one has arrived');
  await clusterOne(page).getByText('Default', { exact: true }).waitFor();
  await page.getByText('You still use the first password.').waitFor();
  const [cookie] = await context.cookies();
  assert.ok(cookie.httpOnly, 'no script can read the session');
  assert.deepEqual(await page.evaluate(() => Object.keys(localStorage)), [], 'and nothing is kept beside it');

  await page.reload();
  await clusterOne(page).waitFor();
  await shoot(page, 'clusters-light');

  await page.getByRole('button', { name: /account menu/ }).click();
  await shoot(page, 'user-menu-light');
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await page.waitForURL('**/sign-in');
  await page.goto('/clusters');
  await page.waitForURL('**/sign-in');
});

inWindow('a link into the console works after signing in', {}, async (page) => {
  await page.goto('/clusters?q=cluster-1');
  await page.waitForURL('**/sign-in?next=*');
  await signIn(page, page.url());
  await page.waitForURL('**/clusters?q=cluster-1');
  assert.equal(await page.getByRole('searchbox').inputValue(), 'cluster-1');
  await clusterOne(page).waitFor();
});

inWindow('a search lives in the address, and can be taken back', {}, async (page) => {
  await signIn(page);
  await page.getByRole('searchbox').fill('no such cluster');
  await page.getByRole('heading', { name: 'No cluster matches' }).waitFor();
  await page.waitForFunction(() => new URLSearchParams(location.search).get('q') === 'no such cluster');
  await shoot(page, 'no-match-light');
  await assertAccessible(page, 'no match');
  await page.getByRole('button', { name: 'Clear filters' }).click();
  await clusterOne(page).waitFor();
  assert.equal(new URL(page.url()).search, '');
});

inWindow('Back undoes a search, and a fresh read takes nothing from under the hand', {}, async (page) => {
  await signIn(page);
  const search = page.getByRole('searchbox');
  await search.pressSequentially('cluster');
  await page.waitForFunction(() => new URLSearchParams(location.search).get('q') === 'cluster');
  await clusterOne(page).evaluate((card) => card.setAttribute('data-kept', ''));
  for (let reads = 0; reads < 2; reads += 1) await page.waitForResponse((response) => CLUSTERS(response.url()));
  await page.locator('.cluster-card[data-kept]').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.type), 'search', 'the search field keeps the focus');
  await page.goBack();
  await page.waitForFunction(() => location.search === '' && document.querySelector('[type=search]').value === '');
});

inWindow('a manager that does not answer is not a wrong password', {}, async (page) => {
  await page.goto('/sign-in');
  await page.getByLabel('Account').fill('root');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.route('**/api/v1/users/signin', (route) => route.abort());
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').getByText('The manager does not answer.').waitFor();
  assert.equal(await page.getByLabel('Password', { exact: true }).getAttribute('aria-invalid'), null);
  await assertAccessible(page, 'sign-in, silent');
});

inWindow('the keyboard goes past the frame to the page', {}, async (page) => {
  await signIn(page);
  await page.reload();
  await clusterOne(page).waitFor();
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the page');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
});

inWindow('an address without a page says so inside the frame', {}, async (page) => {
  await signIn(page);
  await page.goto('/nowhere');
  await page.getByRole('heading', { name: 'Page not found', level: 1 }).waitFor();
  await shoot(page, 'not-found-light');
  await assertAccessible(page, 'not found');
  await page.getByRole('link', { name: 'All clusters' }).click();
  await clusterOne(page).waitFor();
});

inWindow('a manager that falls silent leaves the page standing, and it heals alone', {}, async (page) => {
  await signIn(page);
  await clusterOne(page).waitFor();
  await page.route('**/api/**', (route) => route.abort());
  await page.getByText('The manager does not answer.').waitFor();
  await page.locator('.live[data-live=stale]').waitFor();
  assert.ok(await clusterOne(page).isVisible(), 'what is known stays on screen');
  await shoot(page, 'silent-light');
  await assertAccessible(page, 'silent');
  await page.unroute('**/api/**');
  await page.getByText('The manager does not answer.').waitFor({ state: 'detached' });
  await page.locator('.live[data-live=poll]').waitFor();
});

inWindow('a refusal stands above the last good answer, with its request id', {}, async (page) => {
  await signIn(page);
  await clusterOne(page).waitFor();
  const body = { type: 'about:blank', title: 'Service Unavailable', status: 503, code: 'unavailable' };
  const json = { ...body, detail: 'The database is locked.', request_id: '7f3a9c1e' };
  const refuse = (route) => route.fulfill({ status: 503, contentType: 'application/problem+json', json });
  await page.route(CLUSTERS, refuse);
  await page.getByText('The database is locked.').waitFor();
  await page.getByText('Request 7f3a9c1e').waitFor();
  assert.ok(await clusterOne(page).isVisible());
  await page.reload();
  await page.getByRole('heading', { name: 'Clusters could not be read' }).waitFor();
  await shoot(page, 'failed-light');
  await assertAccessible(page, 'failed');
  await page.unroute(CLUSTERS);
  await page.getByRole('button', { name: 'Try again' }).click();
  await clusterOne(page).waitFor();
});

inWindow('the theme is chosen by keyboard and remembered', {}, async (page) => {
  await signIn(page);
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  await page.getByRole('button', { name: 'Theme: as the system' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('menuitemradio', { name: 'As the system', checked: true }).waitFor();
  await page.waitForFunction(() => document.activeElement.role === 'menuitemradio');
  await page.keyboard.press('d');
  await page.keyboard.press('Enter');
  assert.equal(await theme(), 'dark');
  await page.getByRole('button', { name: 'Theme: dark' }).waitFor();
  await page.reload();
  await clusterOne(page).waitFor();
  assert.equal(await theme(), 'dark');
});

inWindow('on a phone the menu lies off canvas and gives the focus back', PHONE, async (page) => {
  await signIn(page);
  const opener = page.getByRole('button', { name: 'Open the menu' });
  await opener.click();
  await page.getByRole('button', { name: 'Close the menu' }).waitFor();
  await page.waitForFunction(() => document.activeElement.ariaLabel === 'Close the menu');
  assert.ok(await page.locator('.view').evaluate((view) => view.inert));
  await shoot(page, 'menu-phone');
  await assertAccessible(page, 'menu');
  await page.keyboard.press('Escape');
  await page.waitForFunction(() => document.activeElement.ariaLabel === 'Open the menu');
  assert.ok(!(await page.locator('.view').evaluate((view) => view.inert)));
});

for (const colorScheme of ['light', 'dark']) {
  for (const size of [{ width: 1440, height: 900 }, PHONE]) {
    const where = `${colorScheme}-${size.width}`;
    inWindow(`both pages are accessible and fit: ${where}`, { colorScheme, ...size }, async (page) => {
      await page.goto('/');
      await page.getByRole('heading', { name: 'Sign in', level: 1 }).waitFor();
      await shoot(page, `sign-in-${where}`);
      await assertAccessible(page, `sign-in ${where}`);
      await assertNoSidewaysScroll(page, 'sign-in');
      await page.setViewportSize(size);
      await signIn(page);
      await clusterOne(page).waitFor();
      await shoot(page, `clusters-${where}`);
      await assertAccessible(page, `clusters ${where}`);
      await assertNoSidewaysScroll(page, 'clusters');
    });
  }
}
