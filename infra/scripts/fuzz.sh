#!/usr/bin/env bash
# Runs every fuzz target of tests/fuzz for a bounded number of inputs. libFuzzer with the compiler's own coverage
# counters: the stable toolchain is enough. What breaks a target is kept beside its corpus and named.
#
#   fuzz.sh RUNS [TARGET...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
runs=$1
shift
target_dir=${CARGO_TARGET_DIR:-target}/fuzz
counters=(
  -Cpasses=sancov-module
  -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares
  -Ccodegen-units=1
  -Cdebug-assertions=on
)
# Not for build scripts and macros, which run in the compiler: hence a named target.
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="${counters[*]}"
cargo build --quiet --release --package fuzz --features run --bins --target "$host" --target-dir "$target_dir"
if [ $# -eq 0 ]; then
  for source in tests/fuzz/targets/*.rs; do
    name=$(basename "$source" .rs)
    set -- "$@" "${name//_/-}"
  done
fi
for name in "$@"; do
  corpus=$target_dir/corpus/$name
  mkdir -p "$corpus"
  log=$corpus.log
  echo "fuzz: $name, $runs inputs"
  if ! "$target_dir/$host/release/fuzz-$name" "$corpus" "tests/fuzz/seeds/$name" -runs="$runs" -max_len=65536 \
    -rss_limit_mb=512 -timeout=10 -print_final_stats=1 -artifact_prefix="$corpus-" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    echo "fuzz: $name failed; the input is named above, all of its output is in $log" >&2
    exit 1
  fi
  grep -E 'number_of_executed_units|peak_rss_mb' "$log"
done
