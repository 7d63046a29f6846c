#!/usr/bin/env bash
# Make a virtual environment with the project, its extras and its test tools, at the versions of requirements.lock.
# Needs Python 3.11 or later; on Debian the python3-venv package too, which this installs if it may.
set -euo pipefail
venv="$1"
python="${PYTHON:-python3}"

fail() { echo "setup: $*" >&2; exit 1; }

command -v "$python" >/dev/null || fail "no $python here; install Python 3.11 or later, or run make PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || fail "$("$python" -V) is too old; install Python 3.11 or later, or run make PYTHON=/path/to/python3.11"

if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  rm -rf "$venv"
  if ! "$python" -m venv "$venv" 2>/dev/null; then
    rm -rf "$venv"
    package="python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      echo "setup: installing $package"
      { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package"; } >/dev/null \
        || fail "$package could not be installed; install it by hand"
      "$python" -m venv "$venv"
    else
      fail "this Python cannot make virtual environments; on Debian: sudo apt-get install $package"
    fi
  fi
fi

echo "setup: installing into $venv (about a minute the first time)"
pip() { "$venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
# uv downloads and compiles on all cores: half the time. It does not read pip's settings; where it reaches no index, pip does.
pip install --require-hashes -r <(awk '/^uv==/ {found = 1} found {print} found && !/\\$/ {exit}' requirements.lock)
"$venv/bin/uv" pip install --quiet --compile-bytecode --python "$venv/bin/python" --require-hashes -r requirements.lock \
  2>/dev/null || pip install --require-hashes -r requirements.lock
pip install --no-deps --no-build-isolation -e .
