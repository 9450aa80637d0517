# Everything there is to do here. `just` alone lists it; CI (.ci/run) calls these recipes and nothing else.

set shell := ["bash", "-euo", "pipefail", "-c"]
set positional-arguments

target := env("CARGO_TARGET_DIR", justfile_directory() / "target")

export CARGO_TARGET_DIR := target

# Another compiler may be at work on the console: see infra/scripts/console.sh.
export CONSOLE_TARGET_DIR := env("CONSOLE_TARGET_DIR", target / "console")

# The toolchain of rust-toolchain.toml; where rustup neither has nor gets it, the stable one: Cargo says when it is too old.
export RUSTUP_TOOLCHAIN := env("RUSTUP_TOOLCHAIN", `cargo --version >/dev/null || { echo "just: trying the stable toolchain instead" >&2; echo stable; }`)

# Always the whole workspace, with a filter: `-p` would choose other features of the same dependencies, and build them
# a second time.
cargo_test := "cargo test --workspace"

[private]
default:
    @{{ quote(just_executable()) }} --justfile {{ quote(justfile()) }} --list --unsorted

# Pull an image twice through peers and show where its bytes came from; then the console. `--exit` ends after the table
demo *args:
    @infra/scripts/setup.sh demo
    @infra/scripts/console.sh || echo "demo: going on without the console" >&2
    @cargo build --workspace --bin dragonfly
    @"$CARGO_TARGET_DIR/debug/dragonfly" demo "$@"

# The whole platform in one process until Ctrl-C; `just run --help` has its options
run *args: console
    @cargo build --workspace --bin dragonfly
    @"$CARGO_TARGET_DIR/debug/dragonfly" run "$@"

# Install what the recipes need and this machine lacks: all, demo, test, bench, console, lint or fuzz
setup what="all":
    @infra/scripts/setup.sh {{ if what == "all" { "test lint fuzz" } else { quote(what) } }}

# Build every program
build:
    cargo build --workspace --bins

# Build the console into web-console/dist, which the manager serves
console:
    @infra/scripts/setup.sh console
    @infra/scripts/console.sh

# Every test: units, contract, tidy, real containerd on two nodes, the console in a real browser
test: (setup "test") console build
    {{ cargo_test }}
    cd web-console && cargo test --workspace --target-dir "$CONSOLE_TARGET_DIR/host"

# Real containerd pulls through dfdaemon, in network namespaces
e2e *args: (setup "test") build
    {{ cargo_test }} --test e2e -- "$@"

# Speed and memory beside nginx, curl and docker-registry: a table and target/bench/report.json; `just bench --help`
bench *args: (setup "bench")
    cargo build --workspace --release --bins
    @"$CARGO_TARGET_DIR/release/bench" "$@"

# Broadcasts to up to 100,000 peers in virtual time, with faults: a table beside the bound; `just sim --help`
sim *args:
    @cargo build --workspace --release --bin sim
    @"$CARGO_TARGET_DIR/release/sim" "$@"

# The console in Chromium, against a manager started for it
browser: (setup "test") console
    {{ cargo_test }} --test browser

# Clients of the manager generated in TypeScript, Python, Go and Java: built, and each walks through a manager
clients: (setup "test")
    {{ cargo_test }} --test clients

# Every operation of every document with made-up values, right and wrong: no 5xx, and nothing that the document does not say
fuzzapi: (setup "test")
    {{ cargo_test }} --test fuzz_api

# Format, clippy, the limits and the contract: everything a change must keep besides the tests
lint: (setup "lint")
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    {{ cargo_test }} --test tidy --test contract
    cd web-console && cargo fmt -p web-console -p console-build --check
    cd web-console && cargo clippy --workspace --all-targets --target-dir "$CONSOLE_TARGET_DIR/host" -- -D warnings
    @infra/scripts/openapi-lint.sh || { [[ $? == 3 && -z ${CI:-} ]] && echo "lint: the documents are not checked"; }
    @if command -v shellcheck >/dev/null; then shellcheck .ci/run infra/scripts/*.sh tests/*/*.sh; else echo "lint: no shellcheck here, scripts are not checked"; fi

# Format everything
fmt:
    cargo fmt --all
    cd web-console && cargo fmt -p web-console -p console-build

# Write openapi/*.json anew from the handlers
openapi:
    UPDATE_OPENAPI=1 {{ cargo_test }} --test contract

# Feed the parsers of what strangers send with so many inputs each
fuzz runs="300000": (setup "fuzz")
    @infra/scripts/fuzz.sh {{ quote(runs) }}
