// Chromium for the tests: no network of its own, a profile that is thrown away.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

const ARGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** A window of its own; what went wrong inside it is in `troubles`. `close()` takes its profile along. */
export async function openWindow(baseURL, { colorScheme = 'light', width = 1440, height = 900 } = {}) {
  const profile = await mkdtemp(join(tmpdir(), 'console-test-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ARGS,
    baseURL,
    colorScheme,
    viewport: { width, height },
  });
  const page = context.pages()[0] ?? (await context.newPage());
  const troubles = [];
  page.on('pageerror', (error) => troubles.push(String(error)));
  page.on('console', (message) => {
    // Chromium reports every refused request as an error; that the manager says no is often what is tested.
    const refused = message.text().startsWith('Failed to load resource');
    if (message.type() === 'error' && !refused) troubles.push(message.text());
  });
  const close = async () => {
    await context.close();
    await rm(profile, { recursive: true, force: true });
  };
  return { page, context, troubles, close };
}
