#!/usr/bin/env bash
# Builds clients that Debian has not, or has too old, each once, and prints the folder of each that was asked for. All
# of it comes from Go's module registry.
#
#   go-tools.sh NAME…    (see the list below)
#
#   DF_TOOLS_DIR  where built tools are kept (default: ~/.cache/dragonfly-tools)
#
# Status 3 and the reason on standard error when one cannot be built here.
set -euo pipefail
# What the tools below need at least, and what is fetched where Go is older, as Debian's is.
go_wanted=26
go_fetched=1.26.8

tools=${DF_TOOLS_DIR:-$HOME/.cache/dragonfly-tools}
work=
# Go makes its module folders read-only.
trap '[[ -z $work ]] || { chmod -R u+w "$work"; rm -rf "$work"; }' EXIT

cannot() {
  echo "$tool: $1" >&2
  exit 3
}
# The folder of a module in Go's cache.
module() {
  (cd "$work" && GOTOOLCHAIN=local "$go" mod download -json "$1") | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",$/\1/p'
}
# Go releases are modules too: old Go can fetch new Go, checked against Go's checksum database like any other.
newer_go() {
  local os arch dir new=$tools/go-$go_fetched
  if [[ ! -d $new ]]; then
    os=$("$go" env GOOS) arch=$("$go" env GOARCH)
    dir=$(module "golang.org/toolchain@v0.0.1-go$go_fetched.$os-$arch")
    [[ -n $dir ]] || cannot "Go $go_fetched cannot be fetched"
    # A module carries no execute bits.
    cp -r "$dir" "$work/go" && chmod -R u+w "$work/go" && chmod -R +x "$work/go/bin" "$work/go/pkg/tool"
    mkdir -p "$tools" && mv "$work/go" "$new"
  fi
  go=$new/bin/go
  unset GOROOT
}
# Sets `go`, once.
find_go() {
  [[ -z $work ]] || return 0
  work=$(mktemp -d)
  if ! command -v go >/dev/null && command -v apt-get >/dev/null && [[ $(id -u) == 0 ]]; then
    echo "$tool: installing golang-go" >&2
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends golang-go; } >/dev/null ||
      cannot "golang-go cannot be installed"
  fi
  go=$(command -v go) || cannot "Go is missing: install golang, or put the programs into $folder"
  local minor
  minor=$(GOTOOLCHAIN=local "$go" env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
  [[ ${minor:-0} -ge $go_wanted ]] || newer_go
}
# build MODULE VERSION TAGS PACKAGE…: the programs, in a folder that is complete at once, or not there.
build() {
  local source
  folder=$tools/$tool-$2
  [[ ! -d $folder ]] || return 0
  find_go
  echo "$tool: building $2 with $("$go" env GOVERSION)" >&2
  source=$(module "$1@$2")
  [[ -n $source ]] || cannot "its source cannot be fetched"
  # Built in a copy: some of them have a go.mod that names another module, and `go install` refuses those.
  cp -r "$source" "$work/$tool"
  chmod -R u+w "$work/$tool"
  # Those who vendor leave the list of it behind, without the modules. Those before modules have one by another name.
  rm -rf "$work/$tool/vendor"
  [[ ! -f $work/$tool/vendor.mod ]] || for end in mod sum; do mv "$work/$tool/vendor.$end" "$work/$tool/go.$end"; done
  mkdir -p "$work/$tool.out"
  (cd "$work/$tool" && CGO_ENABLED=0 GOTOOLCHAIN=local "$go" build -mod=mod -p 2 -trimpath -buildvcs=false \
    -ldflags=-s\ -w -tags "$3" -o "$work/$tool.out/" "${@:4}") || cannot "it does not build"
  mkdir -p "$tools"
  mv "$work/$tool.out" "$folder.$$" && mv "$folder.$$" "$folder"
}
# No file system but the kernel's, no metrics, no tracing: what is wanted are pulls.
lean=no_btrfs,no_devmapper,no_zfs,no_aufs,no_tracing

# Seconds, in this order, on two cores with nothing of Go compiled before (what they share is compiled once), without
# downloads: crane 17, oras 5, containerd 43, 41 and 38, dockerd 107.
for tool in "$@"; do
  case $tool in
    # Go itself: the machine's, or a newer one; `bin` has it.
    go) folder=$tools/go && find_go && folder=$(GOTOOLCHAIN=local "$go" env GOROOT) ;;
    crictl) build sigs.k8s.io/cri-tools v1.30.0 "" ./cmd/crictl ;;
    crane) build github.com/google/go-containerregistry v0.20.7 "" ./cmd/crane ;;
    oras) build oras.land/oras v1.3.3 "" ./cmd/oras ;;
    containerd-1.7) build github.com/containerd/containerd v1.7.24 "$lean" ./cmd/containerd ./cmd/ctr ;;
    containerd-2.1) build github.com/containerd/containerd/v2 v2.1.9 "$lean" ./cmd/containerd ./cmd/ctr ;;
    containerd-2.3) build github.com/containerd/containerd/v2 v2.3.4 "$lean" ./cmd/containerd ./cmd/ctr ;;
    conformance)
      build github.com/opencontainers/distribution-spec/conformance v0.0.0-20260831232431-97274622c111 "" . ;;
    dockerd) build github.com/docker/docker v28.5.2+incompatible exclude_graphdriver_btrfs ./cmd/dockerd ;;
    *) echo "go-tools.sh: no tool $tool" >&2 && exit 2 ;;
  esac
  echo "$folder"
done
