#!/usr/bin/env bash
# Installs Python programs that tests want, each once, and prints the folder of each that was asked for: it is their
# PYTHONPATH, and its `bin` has them. All of it comes from Python's package registry, by pip.
#
#   py-tools.sh NAME…    (see the list below)
#
#   DF_TOOLS_DIR  where installed tools are kept (default: ~/.cache/dragonfly-tools)
#
# Status 3 and the reason on standard error when one cannot be installed here.
set -euo pipefail

tools=${DF_TOOLS_DIR:-$HOME/.cache/dragonfly-tools}
work=
trap '[[ -z $work ]] || rm -rf "$work"' EXIT

cannot() {
  echo "$tool: $1" >&2
  exit 3
}
# install VERSION REQUIREMENT…: a folder that is complete at once, or not there. What is compiled fits one Python only.
install() {
  local python
  python=$(python3 -c 'import sys; print("py%d.%d" % sys.version_info[:2])') || cannot "python3 is missing: setup.sh test"
  folder=$tools/$tool-$1-$python
  [[ ! -d $folder ]] || return 0
  python3 -m pip --version >/dev/null 2>&1 || cannot "pip is missing: setup.sh test"
  echo "$tool: installing $1" >&2
  mkdir -p "$tools"
  work=$(mktemp -d "$tools/installing-XXXXXX")
  # It also complains of other programs on this machine, which see nothing of it.
  PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 \
    python3 -m pip install --quiet --target "$work/$tool" "${@:2}" >"$work/log" 2>&1 ||
    cannot "it cannot be installed: $(tail -n 3 "$work/log")"
  # Another may have been faster.
  mv -T "$work/$tool" "$folder" 2>/dev/null || [[ -d $folder ]] || cannot "$folder cannot be made"
  rm -rf "$work" && work=
}

for tool in "$@"; do
  case $tool in
    # Only what its S3 needs: all its services together take three times the room. 16 seconds and 115 MB.
    moto) install 5.2.5 'moto[s3]==5.2.5' flask==3.1.3 flask-cors==6.0.5 ;;
    # A jar in a wheel; it wants a Java runtime.
    openapi-generator) install 7.26.0 openapi-generator-cli==7.26.0 ;;
    # What the Python client that it generates imports.
    generated-client) install 7.26.0 urllib3==2.8.0 python-dateutil==2.9.0.post0 \
      pydantic==2.14.4 typing-extensions==4.16.0 ;;
    schemathesis) install 4.32.5 schemathesis==4.32.5 ;;
    *) echo "py-tools.sh: no tool $tool" >&2 && exit 2 ;;
  esac
  echo "$folder"
done
