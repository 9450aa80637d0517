#!/usr/bin/env bash
# The console in a real browser, against a manager that is already running.
#
#   MANAGER_URL  the manager (default: http://127.0.0.1:8080), fresh: root's password is still `dragonfly`
#   CHROMIUM     the browser (default: /usr/bin/chromium)
#   SHOTS        folder for screenshots (default: none are taken)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../tests/browser"
# npm writes its own copy of the lockfile last: when ours is newer, what is installed may be old.
if [[ ! node_modules/.package-lock.json -nt package-lock.json ]]; then
  npm ci --no-audit --no-fund --silent
  touch node_modules/.package-lock.json
fi
exec node --test --test-concurrency=1 --test-reporter=spec provider.test.mjs console.test.mjs
