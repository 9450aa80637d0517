#!/usr/bin/env bash
# Builds crictl once, since Debian has none, and prints where it is. Everything comes from Go's module registry.
#
#   DF_TOOLS_DIR  where built tools are kept (default: ~/.cache/dragonfly-tools)
#
# Status 3 and the reason on standard error when it cannot be built here.
set -euo pipefail
version=v1.30.0
# What the version above needs at least, and what is fetched where Go is older, as Debian's is.
go_wanted=22
go_fetched=1.22.12

folder=${DF_TOOLS_DIR:-$HOME/.cache/dragonfly-tools}/crictl-$version
crictl=$folder/crictl
if [[ -x $crictl ]]; then
  echo "$crictl"
  exit 0
fi
cannot() {
  echo "crictl: $1" >&2
  exit 3
}
work=$(mktemp -d)
# Go makes its module folders read-only.
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

# The folder of a module in Go's cache.
module() {
  (cd "$work" && GOTOOLCHAIN=local "$go" mod download -json "$1") | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",$/\1/p'
}
# Go releases are modules too: old Go can fetch new Go, checked against Go's checksum database like any other.
newer_go() {
  local os arch dir
  os=$("$go" env GOOS) arch=$("$go" env GOARCH)
  dir=$(module "golang.org/toolchain@v0.0.1-go$go_fetched.$os-$arch")
  [[ -n $dir ]] || cannot "Go $go_fetched cannot be fetched"
  # A module carries no execute bits.
  cp -r "$dir" "$work/go" && chmod -R u+w "$work/go" && chmod -R +x "$work/go/bin" "$work/go/pkg/tool"
  go=$work/go/bin/go
  unset GOROOT
}

if ! command -v go >/dev/null && command -v apt-get >/dev/null && [[ $(id -u) == 0 ]]; then
  echo "crictl: installing golang-go" >&2
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends golang-go; } >/dev/null ||
    cannot "golang-go cannot be installed"
fi
go=$(command -v go) || cannot "Go is missing: install golang, or put crictl at $crictl"
minor=$(GOTOOLCHAIN=local "$go" env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
[[ ${minor:-0} -ge $go_wanted ]] || newer_go

echo "crictl: building $version with $("$go" env GOVERSION)" >&2
source=$(module "sigs.k8s.io/cri-tools@$version")
[[ -n $source ]] || cannot "its source cannot be fetched"
# Its go.mod names another module, so that `go install` refuses it.
cp -r "$source" "$work/cri-tools"
chmod -R u+w "$work/cri-tools"
mkdir -p "$folder"
(cd "$work/cri-tools" && CGO_ENABLED=0 GOTOOLCHAIN=local "$go" build -mod=mod -trimpath -o "$work/crictl" ./cmd/crictl) ||
  cannot "it does not build"
# Complete at once, or not there.
mv "$work/crictl" "$crictl.$$" && mv "$crictl.$$" "$crictl"
echo "$crictl"
