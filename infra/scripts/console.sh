#!/usr/bin/env bash
# Builds the console into web-console/dist, which the manager embeds. Does nothing when dist is of these sources.
#
#   CONSOLE_TARGET_DIR  where to compile (default: target/console); apart from the servers', since another compiler may
#                       be at work here and the two would throw away each other's results
#
# Two ways to a wasm32 standard library: rustup's, or Debian's compiler with the source of its library. RUSTC_BOOTSTRAP
# is for the second alone and never reaches the servers' build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD
target=${CONSOLE_TARGET_DIR:-$root/target/console}
[[ $target == /* ]] || target=$root/$target
dist=$root/web-console/dist
stamp=$target/dist.stamp
triple=wasm32-unknown-unknown

# The sources, and what dist was made of them: a foreign or half-removed dist is built anew.
inputs() {
  find Cargo.toml web-console/{Cargo.toml,Cargo.lock,.cargo,src,style,assets,build} services/df-{api,client}/{Cargo.toml,src} \
    infra/scripts/console.sh -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
}
fingerprint() {
  { inputs; sha256sum "$dist/index.html" 2>/dev/null || echo "no dist"; } | sha256sum
}
if [[ -f $dist/index.html && -f $stamp && $(cat "$stamp") == "$(fingerprint)" ]]; then
  echo "console: web-console/dist is up to date"
  exit 0
fi

debian_compiler() {
  [[ -x /usr/bin/rustc && -d /usr/lib/rustlib/src/rust/library/std ]] && return
  if command -v apt-get >/dev/null && [[ $(id -u) == 0 ]]; then
    echo "console: installing Debian's rustc-web and rust-web-src"
    apt-get update -qq && apt-get install -y -qq --no-install-recommends rustc-web rust-web-src >/dev/null && return
  fi
  cat >&2 <<'HOW'
console: this Rust has no wasm32-unknown-unknown. Either of
    rustup target add wasm32-unknown-unknown
    sudo apt-get install --no-install-recommends rustc-web rust-web-src
gets one. The manager builds without a console, and says so in the browser.
HOW
  exit 1
}

build=(cargo build --release --locked -p web-console --target "$triple" --target-dir "$target")
if [[ -d $(rustc --print target-libdir --target "$triple") ]]; then
  echo "console: building with rustup's $triple"
  (cd web-console && "${build[@]}")
else
  debian_compiler
  echo "console: building with Debian's $(/usr/bin/rustc --version)"
  lld=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/rust-lld
  (cd web-console &&
    RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$lld \
      "${build[@]}" -Zbuild-std=std,panic_abort)
fi

(cd web-console && cargo run --quiet --locked -p console-build --target-dir "$target/host" -- \
  "$target/$triple/release/web-console.wasm" "$root/web-console" "$dist")
fingerprint >"$stamp"
