#!/usr/bin/env bash
# Installs the system packages that a recipe needs and this machine lacks; silent when nothing is missing.
#
#   setup.sh [demo|test|bench|console|lint|fuzz]…     (default: all of them)
#
# As root on Debian and its kin through apt-get; elsewhere it names them. Always status 0: what can do without runs, and
# what cannot says so itself.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit

missing=()
# need COMMAND PACKAGE…
need() {
  command -v "$1" >/dev/null || missing+=("${@:2}")
}

server() {
  # aws-lc, the TLS library, is C.
  need cc gcc libc6-dev
}
console() {
  server
  # A standard library for wasm32: rustup's where it can be had, else Debian's compiler with its source.
  [[ -d $(rustc --print target-libdir --target wasm32-unknown-unknown 2>/dev/null) ]] && return
  [[ -x /usr/bin/rustc && -d /usr/lib/rustlib/src/rust/library/std ]] && return
  command -v rustup >/dev/null && timeout 120 rustup target add wasm32-unknown-unknown >/dev/null 2>&1 && return
  missing+=(rustc-web rust-web-src)
}
demo() {
  console
  need docker-registry docker-registry
}
bench() {
  server
  need docker-registry docker-registry
  need nginx nginx
  need ip iproute2
  need tc iproute2
  need unshare util-linux
  need curl curl
}
tests() {
  demo
  bench
  need containerd containerd
  need runc runc
  need skopeo skopeo
  need podman podman
  need dockerd docker.io
  need node nodejs
  need npm npm
  need chromium chromium
  need git git
  need mkfs.xfs xfsprogs
  need git-lfs git-lfs
  # Its server is not in the PATH.
  compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || need postgres postgresql
  need mariadb-install-db mariadb-server-core
  # What makes its tables calls a program of the client's.
  need my_print_defaults mariadb-client-core
  need javac default-jdk-headless
  need mvn maven
  need python3 python3
  python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
}
lint() {
  server
  need shellcheck shellcheck
  need node nodejs
  need npm npm
}
fuzz() {
  server
  # libFuzzer is C++.
  need c++ g++
}

for recipe in "${@:-test}"; do
  case $recipe in
    demo | bench | console | lint | fuzz) "$recipe" ;;
    test) tests ;;
    *) echo "setup.sh: no recipe $recipe; there are demo, test, bench, console, lint and fuzz" >&2 && exit 2 ;;
  esac
done

if ((${#missing[@]})); then
  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
  if command -v apt-get >/dev/null && [[ $(id -u) == 0 ]]; then
    echo "setup: installing ${missing[*]}"
    # Packages that start a service of their own must not: only their programs are wanted.
    policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
      printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && trap 'rm -f $policy' EXIT
    fi
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      "${missing[@]}"; } >/dev/null || echo "setup: not all of them could be installed: ${missing[*]}" >&2
  else
    echo "setup: missing, and needed for everything to run: ${missing[*]} (Debian's names)" >&2
  fi
fi

# Not packaged, or too old there: built or installed once. What cannot be is not setup's to fail for: a test that wants it
# asks again, says why it does not run, and fails where `CI` is set.
if [[ " ${*:-test} " == *" test "* ]]; then
  for tool in crictl crane oras conformance containerd-1.7 containerd-2.1 containerd-2.3 dockerd; do
    infra/scripts/go-tools.sh "$tool" >/dev/null || true
  done
  for tool in moto openapi-generator generated-client schemathesis; do
    infra/scripts/py-tools.sh "$tool" >/dev/null || true
  done
fi
