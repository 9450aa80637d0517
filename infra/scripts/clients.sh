#!/usr/bin/env bash
# Clients in TypeScript, Python, Go and Java: generated from openapi/manager.json, built, and each walks through a
# manager that is already running. Nothing that is generated is changed: what is wrong in it is put right in the document.
#
#   clients.sh [typescript|python|go|java]…    (default: all of them)
#
#   MANAGER_URL       the manager (default: http://127.0.0.1:8080); without clusters called `client-…`
#   PREHEAT_URL       a file that its seed peer may fetch (default: https://example.com/)
#   MANAGER_PASSWORD  root's password (default: dragonfly)
#   CARGO_TARGET_DIR  its `clients` has what is generated and built (default: target)
#   DF_TOOLS_DIR      where installed tools are kept (default: ~/.cache/dragonfly-tools)
#
# Status 3 and the reason on standard error when a tool is missing and cannot be installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export MANAGER_URL=${MANAGER_URL:-http://127.0.0.1:8080}
tools=${DF_TOOLS_DIR:-$HOME/.cache/dragonfly-tools}
mkdir -p "${CARGO_TARGET_DIR:-target}/clients"
build=$(cd "${CARGO_TARGET_DIR:-target}/clients" && pwd)
languages=("${@:-typescript}")
(($#)) || languages=(typescript python go java)

cannot() {
  echo "clients: $1" >&2
  exit 3
}
need() {
  command -v "$1" >/dev/null || cannot "$1 is missing: setup.sh test"
}
# timed WHAT COMMAND…
timed() {
  local start=$EPOCHREALTIME took
  step=$1
  # Not in a condition: there the shell goes on after what fails within.
  "${@:2}"
  took=$(((${EPOCHREALTIME/[.,]/} - ${start/[.,]/}) / 1000))
  printf 'clients: %s took %d.%01d s\n' "$step" $((took / 1000)) $((took % 1000 / 100))
}
# Who cannot run has said why.
step=starting
trap '[[ $? == [03] ]] || echo "clients: $step failed" >&2' EXIT

# All languages at once: one Java machine starts faster than four.
generate() (
  local configs=() language jar
  need java
  jar=$(infra/scripts/py-tools.sh openapi-generator)
  cp openapi/manager.json "$build/"
  for language in "${languages[@]}"; do
    # What an older document made must not be left over.
    rm -rf "${build:?}/$language"
    cp -r "tests/clients/$language" "$build/"
    configs+=("$build/$language/generator.json")
  done
  (cd "$build" && java -jar "$jar/openapi_generator_cli/openapi-generator.jar" \
    batch --fail-fast --threads 2 --root-dir "$build" "${configs[@]}" >generator.log 2>&1) || {
    tail -n 20 "$build/generator.log" >&2
    exit 1
  }
)

build_typescript() (
  local modules
  modules=$(infra/scripts/npm-tools.sh tests/clients/typescript)
  ln -sfn "$modules" "$build/typescript/node_modules"
  cd "$build/typescript"
  # A field that has a default may be left out of requests.
  node_modules/.bin/openapi-typescript ../manager.json --default-non-nullable=false --output manager.d.ts >types.log 2>&1 ||
    { cat types.log >&2 && exit 1; }
  node_modules/.bin/tsc
)
run_typescript() (
  cd "$build/typescript"
  node out/walk.js
  node out/types.js
)

build_python() (
  libraries=$(infra/scripts/py-tools.sh generated-client)
  # All of it, not only what the walk imports.
  python3 -m compileall -q "$build/python/dragonfly_manager"
)
run_python() (
  libraries=$(infra/scripts/py-tools.sh generated-client)
  PYTHONPATH=$build/python:$libraries python3 "$build/python/walk.py"
)

build_go() (
  go=$(infra/scripts/go-tools.sh go)/bin/go
  # Both need nothing but Go's own library.
  export GOTOOLCHAIN=local GOFLAGS=-mod=mod
  cd "$build/go/generated"
  "$go" vet ./...
  cd ..
  "$go" vet .
  "$go" build -o walk .
)
run_go() (
  "$build/go/walk"
)

# What the generated pom.xml lists; it changes with the generator only.
jars() {
  local folder key
  key=$(sha256sum <"$build/java/generated/pom.xml")
  jars=$tools/java-client-${key:0:12}
  [[ ! -d $jars ]] || return 0
  need mvn
  echo "clients: installing what the Java client needs" >&2
  mkdir -p "$tools"
  folder=$(mktemp -d "$tools/installing-XXXXXX")
  (cd "$build/java/generated" && mvn --quiet --batch-mode dependency:copy-dependencies \
    -DexcludeTransitive=true -DoutputDirectory="$folder" >mvn.log 2>&1) || {
    rm -rf "$folder"
    cannot "what the Java client needs cannot be installed: $(tail -n 3 "$build/java/generated/mvn.log")"
  }
  mv -T "$folder" "$jars" 2>/dev/null || { rm -rf "$folder" && [[ -d $jars ]]; } || cannot "$jars cannot be made"
}
build_java() (
  need javac
  jars
  cd "$build/java"
  find generated/src/main -name '*.java' >sources
  javac -nowarn -proc:none -Xlint:none -d classes -cp "$jars/*" @sources Walk.java 2>&1 | sed '/^Note: /d' >&2
)
run_java() (
  jars
  java -XX:TieredStopAtLevel=1 -cp "$build/java/classes:$jars/*" Walk
)

timed "generating ${languages[*]}" generate
for language in "${languages[@]}"; do
  # One after another: each reads all pages of clusters.
  timed "building $language" "build_$language"
  timed "running $language" "run_$language"
done
