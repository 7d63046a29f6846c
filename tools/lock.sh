#!/usr/bin/env bash
# Pin every package that `make setup` installs, with hashes, from the ranges of pyproject.toml. Needs uv.
set -euo pipefail
cd "$(dirname "$0")/.."
{
  echo "# Every package that \`make setup\` installs. Made from pyproject.toml by tools/lock.sh; never edited by hand."
  "${UV:-uv}" pip compile pyproject.toml --extra postgres --extra ray --extra kube --group test --generate-hashes --universal \
    --python-version 3.11 --no-emit-index-url --no-header --quiet
} > requirements.lock.new
mv requirements.lock.new requirements.lock
