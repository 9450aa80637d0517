#!/usr/bin/env bash
# Schemathesis against every operation of openapi/*.json, on programs that are already running: what it asks for and what
# it lets pass stands in tests/fuzz_api.
#
#   MANAGER_URL   the manager, fresh: root's password is still `dragonfly`; a scheduler and a seed peer are known to it
#   DFDAEMON_URL  a dfdaemon of its cluster, where programs of its node call it
#   DF_TOOLS_DIR  where installed tools are kept (default: ~/.cache/dragonfly-tools)
#
# Status 3 and the reason on standard error when Schemathesis cannot be installed here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
libraries=$(infra/scripts/py-tools.sh schemathesis)
PYTHONPATH=$libraries PYTHONDONTWRITEBYTECODE=1 exec python3 tests/fuzz_api/run.py
