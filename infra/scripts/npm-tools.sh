#!/usr/bin/env bash
# Installs what the lock file of a folder lists, once, and prints the folder `node_modules` of it. All of it comes from
# Node's package registry, by npm.
#
#   npm-tools.sh FOLDER    (with package.json and package-lock.json)
#
#   DF_TOOLS_DIR  where installed tools are kept (default: ~/.cache/dragonfly-tools)
#
# Status 3 and the reason on standard error when it cannot be installed here.
set -euo pipefail

from=$1
tools=${DF_TOOLS_DIR:-$HOME/.cache/dragonfly-tools}
work=
trap '[[ -z $work ]] || rm -rf "$work"' EXIT

cannot() {
  echo "$from: $1" >&2
  exit 3
}

command -v npm >/dev/null || cannot "npm is missing: setup.sh test"
key=$(sha256sum <"$from/package-lock.json")
folder=$tools/npm-$(basename "$from")-${key:0:12}
if [[ ! -d $folder ]]; then
  echo "$from: installing what its lock file lists" >&2
  mkdir -p "$tools"
  work=$(mktemp -d "$tools/installing-XXXXXX")
  cp "$from/package.json" "$from/package-lock.json" "$work/"
  # No package may run something of its own here; one would only report the machine.
  (cd "$work" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >log 2>&1) ||
    cannot "it cannot be installed: $(tail -n 3 "$work/log")"
  # Another may have been faster.
  mv -T "$work" "$folder" 2>/dev/null || [[ -d $folder ]] || cannot "$folder cannot be made"
  work=
fi
echo "$folder/node_modules"
