# The images of Batchyard. `operator` watches the cluster and holds neither Ray nor langgraph; `runner` runs the trials.
# What is in them, and how to make one of your own: docs/images.md.
#
# Behind a package mirror or an own certificate authority, pass two build secrets: `pip-config` (a pip.conf) and
# `ca-bundle` (a PEM file). They are mounted while packages are installed and are never part of an image.
#
# What is built twice is the same: every package is pinned with its hash, every file that is installed here has the time
# of SOURCE_DATE_EPOCH, and compiled modules hold no time. What Debian installs into the runner is of the day.
# The source comes last: a change of it builds one small layer anew.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS tools
RUN python3 -m venv /opt/tools
COPY requirements-build.lock /src/
RUN --mount=type=secret,id=pip-config,target=/etc/pip.conf \
    --mount=type=secret,id=ca-bundle,target=/etc/ssl/certs/ca-certificates.crt \
    /opt/tools/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes \
      --requirement /src/requirements-build.lock
# The earliest time that a wheel can hold, unless another is asked for.
ARG SOURCE_DATE_EPOCH=315532800
# A set's order is compiled in; without a fixed seed it is another one each time.
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} \
    PYTHONHASHSEED=0
COPY tools/image/ /opt/tools/image/

FROM tools AS wheel
COPY pyproject.toml README.md LICENSE /src/
COPY operator /src/operator
RUN /opt/tools/bin/pip wheel --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation \
      --wheel-dir /dist /src

FROM tools AS operator-packages
COPY requirements-operator.lock /src/requirements.lock
RUN --mount=type=secret,id=pip-config,target=/etc/pip.conf \
    --mount=type=secret,id=ca-bundle,target=/etc/ssl/certs/ca-certificates.crt \
    sh /opt/tools/image/packages.sh

FROM operator-packages AS operator-own
COPY --from=wheel /dist /dist
RUN sh /opt/tools/image/own.sh operator

FROM tools AS runner-packages
COPY requirements-runner.lock /src/requirements.lock
RUN --mount=type=secret,id=pip-config,target=/etc/pip.conf \
    --mount=type=secret,id=ca-bundle,target=/etc/ssl/certs/ca-certificates.crt \
    sh /opt/tools/image/packages.sh

FROM runner-packages AS runner-own
COPY --from=wheel /dist /dist
RUN sh /opt/tools/image/own.sh runner

FROM ${PYTHON_IMAGE} AS base
ARG SOURCE_DATE_EPOCH=315532800
# Everything but /tmp and this user's home may be mounted read-only.
RUN useradd --uid 10001 --user-group --home-dir /var/lib/batchyard --create-home --shell /usr/sbin/nologin batchyard \
    && rm -f /etc/*- /var/log/lastlog /var/log/faillog \
    && touch --date="@${SOURCE_DATE_EPOCH}" /etc /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/subuid /etc/subgid \
         /var/lib /var/lib/batchyard
ENV PATH=/opt/batchyard/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1
WORKDIR /var/lib/batchyard

FROM base AS runner
# KubeRay's probes call wget in the containers of a Ray cluster.
RUN apt-get update -qq \
    && apt-get install --yes -qq --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log /var/cache/ldconfig/aux-cache
COPY --from=runner-packages /opt/batchyard /opt/batchyard
COPY --from=runner-own /own /
ENV RAY_USAGE_STATS_ENABLED=0
# It does one piece of work and ends; whether that goes well, the operator hears from it, and Kubernetes from its end.
HEALTHCHECK NONE
USER 10001:10001
ENTRYPOINT ["batchyard"]
ARG VERSION=0.1.0
ARG REVISION=
ARG SOURCE=
LABEL org.opencontainers.image.title="Batchyard runner" \
      org.opencontainers.image.description="Runs the trials of BatchTests: LangGraph workflows, in a Job or on Ray." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"

FROM base AS operator
COPY --from=operator-packages /opt/batchyard /opt/batchyard
COPY --from=operator-own /own /
# For those who run it by hand; Kubernetes has its own probes and does not look at this.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python3", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('BATCHYARD_METRICS_PORT', '9090') + '/healthz', timeout=4)"]
USER 10001:10001
ENTRYPOINT ["batchyard", "operator"]
ARG VERSION=0.1.0
ARG REVISION=
ARG SOURCE=
LABEL org.opencontainers.image.title="Batchyard operator" \
      org.opencontainers.image.description="Watches BatchTests, gives them a place to run, judges and keeps their results." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
