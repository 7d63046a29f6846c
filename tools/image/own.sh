#!/bin/sh
# A step of the Dockerfile: add the project's own wheel, and say what is in the image.
# /own is what that adds: a small layer over the packages.
set -eu
/opt/tools/bin/pip --python /opt/batchyard/bin/python install --quiet --no-compile --disable-pip-version-check \
  --no-index --no-deps /dist/*.whl
sh /opt/tools/image/compiled.sh /opt/batchyard/lib/python3*/site-packages/batchyard
sbom=/own/usr/share/batchyard/sbom
mkdir -p "$sbom"
/opt/tools/bin/cyclonedx-py environment --output-reproducible --mc-type application --spec-version 1.6 \
  --output-file "$sbom/batchyard-$1.cdx.json" /opt/batchyard/bin/python
# What is new is newer: all that was here before has the time of SOURCE_DATE_EPOCH.
cd /
find opt/batchyard -newermt "@$SOURCE_DATE_EPOCH" ! -type d -exec cp --parents --no-dereference --target-directory=/own {} +
find /own -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
