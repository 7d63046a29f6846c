# The images of Batchyard. `operator` watches the cluster and holds neither Ray nor langgraph; `runner` runs the trials.
#
# Behind a package mirror or an own certificate authority, pass two build secrets: `pip-config` (a pip.conf) and
# `ca-bundle` (a PEM file). They are mounted while packages are installed and are never part of an image.
# The source comes last: a change of it builds one small layer anew.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS wheel
RUN python3 -m venv /opt/build
COPY requirements-build.lock /src/
RUN --mount=type=secret,id=pip-config,target=/etc/pip.conf \
    --mount=type=secret,id=ca-bundle,target=/etc/ssl/certs/ca-certificates.crt \
    /opt/build/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes \
      --requirement /src/requirements-build.lock
COPY pyproject.toml README.md LICENSE /src/
COPY operator /src/operator
RUN /opt/build/bin/pip wheel --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation \
      --wheel-dir /dist /src

FROM ${PYTHON_IMAGE} AS operator-packages
RUN python3 -m venv /opt/batchyard
COPY requirements-operator.lock /tmp/
RUN --mount=type=secret,id=pip-config,target=/etc/pip.conf \
    --mount=type=secret,id=ca-bundle,target=/etc/ssl/certs/ca-certificates.crt \
    /opt/batchyard/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes \
      --requirement /tmp/requirements-operator.lock

FROM ${PYTHON_IMAGE} AS runner-packages
RUN python3 -m venv /opt/batchyard
COPY requirements-runner.lock /tmp/
RUN --mount=type=secret,id=pip-config,target=/etc/pip.conf \
    --mount=type=secret,id=ca-bundle,target=/etc/ssl/certs/ca-certificates.crt \
    /opt/batchyard/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes \
      --requirement /tmp/requirements-runner.lock

FROM ${PYTHON_IMAGE} AS base
# Everything but /tmp and this user's home may be mounted read-only.
RUN useradd --uid 10001 --user-group --home-dir /var/lib/batchyard --create-home --shell /usr/sbin/nologin batchyard
ENV PATH=/opt/batchyard/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1
WORKDIR /var/lib/batchyard

FROM base AS runner
# KubeRay's probes call wget in the containers of a Ray cluster.
RUN apt-get update -qq \
    && apt-get install --yes -qq --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/*
COPY --from=runner-packages /opt/batchyard /opt/batchyard
COPY --from=wheel /dist /opt/wheel
RUN /opt/batchyard/bin/pip install --quiet --disable-pip-version-check --no-index --no-deps /opt/wheel/*.whl
ENV RAY_USAGE_STATS_ENABLED=0
USER 10001:10001
ENTRYPOINT ["batchyard"]

FROM base AS operator
COPY --from=operator-packages /opt/batchyard /opt/batchyard
COPY --from=wheel /dist /opt/wheel
RUN /opt/batchyard/bin/pip install --quiet --disable-pip-version-check --no-index --no-deps /opt/wheel/*.whl
USER 10001:10001
ENTRYPOINT ["batchyard", "operator"]
