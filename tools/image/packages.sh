#!/bin/sh
# A step of the Dockerfile: make /opt/batchyard with the packages of /src/requirements.lock.
set -eu
# No pip that nobody pinned: what is to be in an image stands in its lock.
python3 -m venv --without-pip /opt/batchyard
/opt/tools/bin/pip --python /opt/batchyard/bin/python install --quiet --no-cache-dir --no-compile \
  --disable-pip-version-check --require-hashes --requirement /src/requirements.lock
sh /opt/tools/image/compiled.sh /opt/batchyard/lib
find /opt/batchyard -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
