#!/bin/sh
# A step of the Dockerfile: compile the modules in a folder, so that they hold no time. What is installed never changes,
# so nothing has to be looked up when a module is imported.
set -eu
# The thousands of models of the official client are never imported here. Some packages bring templates that are no
# Python; pip would leave those as they are too.
/opt/batchyard/bin/python -m compileall -qq --invalidation-mode unchecked-hash \
  -x '/kubernetes/(aio/)?client/(api|models)/' "$1" || true
