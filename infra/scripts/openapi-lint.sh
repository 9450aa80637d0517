#!/usr/bin/env bash
# What Redocly and Spectral say of openapi/*.json: errors and warnings fail. Rules that are off stand in
# tests/contract/lint, each with its reason.
#
#   DF_TOOLS_DIR  where installed tools are kept (default: ~/.cache/dragonfly-tools)
#
# Status 3 and the reason on standard error when they cannot be installed here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
rules=tests/contract/lint
export REDOCLY_TELEMETRY=off SCARF_ANALYTICS=false REDOCLY_SUPPRESS_UPDATE_NOTICE=true
modules=$(infra/scripts/npm-tools.sh "$rules")
wrong=0
# Both are long-winded about what is right, too.
check() {
  local said
  said=$("$modules/.bin/$1" "${@:2}" openapi/*.json 2>&1) || { printf '%s\n' "$said" >&2 && wrong=1; }
}
check redocly lint --config "$rules/redocly.yaml" --format=stylish
check spectral lint --ruleset "$rules/spectral.yaml" --fail-severity=warn
exit "$wrong"
