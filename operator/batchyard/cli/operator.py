"""``operator``: opens what the operator needs and runs it. Not for what it does (``kube``)."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from batchyard import config, logs
from batchyard.apiserver.connecting import connect
from batchyard.cli import stores
from batchyard.clock import SystemClock
from batchyard.events.redact import Redactor
from batchyard.kube.app import Operator
from batchyard.linux import give_memory_back
from batchyard.log_format import LogFormat
from batchyard.store.connect import parse_target
from batchyard.store.faults import place_of
from batchyard.store.opening import open_cluster_store
from batchyard.store.pages import StoreReader

if TYPE_CHECKING:
    from batchyard.kube.settings import OperatorSettings


def pod_env() -> dict[str, str]:
    """Return what pods that run trials are given of this process's environment: how to log, and where traces go."""
    log_format = {"BATCHYARD_LOG_FORMAT": LogFormat.JSON.value} if logs.as_json() else {}
    return {**config.telemetry_for_pods(), **log_format}


def run_operator(settings: OperatorSettings) -> int:
    """Run one operator to its end and return the exit code."""
    give_memory_back()
    # What is imported stays anyway; without it garbage is looked for more often, and at less cost.
    gc.collect()
    gc.freeze()
    target = stores.target(settings.store)
    known = (*config.inherited_secrets().values(), *place_of(parse_target(target)).secrets)
    with ExitStack() as stack:
        stack.enter_context(logs.masking(Redactor(known).mask))
        store = open_cluster_store(target)
        stack.callback(store.close)

        async def run() -> int:
            async with await connect(settings.context) as api:
                named = replace(
                    settings,
                    namespace=settings.namespace or api.current_namespace,
                    # A host's name and a pid come again after a restart; a leader must not take a dead one for itself.
                    identity=settings.identity or f"{config.host_name()}_{os.getpid()}_{secrets.token_hex(4)}",
                )
                return await Operator(named, api, store, StoreReader(store), SystemClock()).run()

        return asyncio.run(run())
