#!/usr/bin/env bash
# Pin every package with hashes, from the ranges of pyproject.toml: what `make setup` installs, and what goes into the
# images. The images' versions are those of `make setup`. Needs uv and Python 3.11.
set -euo pipefail
cd "$(dirname "$0")/.."

compile() { # file, what it is, then where the requirements come from and what else uv is told
  local file="$1" what="$2"
  shift 2
  # What is pinned stays as it is while it fits; delete the file first to move on to the newest versions.
  if [ -f "$file" ]; then cp "$file" "$file.pins"; else : > "$file.pins"; fi
  "${UV:-uv}" pip compile --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-header --quiet \
    --output-file "$file.pins" "$@"
  { echo "# $what Made from pyproject.toml by tools/lock.sh; never edited by hand."; cat "$file.pins"; } > "$file.new"
  rm "$file.pins"
  mv "$file.new" "$file"
}

# The operator needs none of what only trials need: neither langgraph nor what langgraph brings along.
operator_ranges() {
  python3 - <<'PYTHON'
import tomllib

project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
ranges = [*project["dependencies"], *extras["kube"], *extras["postgres"], *extras["tracing"]]
print("\n".join(one for one in ranges if not one.startswith(("langgraph", "ormsgpack", "zstandard"))))
PYTHON
}

compile requirements.lock "Every package that \`make setup\` installs." \
  pyproject.toml --extra postgres --extra ray --extra kube --extra tracing --extra packages --extra parquet --group test
compile requirements-operator.lock "Every package of the operator's image." \
  --constraints requirements.lock --no-annotate - < <(operator_ranges)
compile requirements-runner.lock "Every package of the runner's image." \
  --constraints requirements.lock --no-annotate pyproject.toml --extra postgres --extra ray --extra tracing --extra packages --group runner-image
compile requirements-build.lock "What builds the wheel that the images install, and lists what is in them." \
  --constraints requirements.lock --no-annotate - < <(python3 -c '
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))
print("\n".join([*project["build-system"]["requires"], *project["dependency-groups"]["image"]]))')
