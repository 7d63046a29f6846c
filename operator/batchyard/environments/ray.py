"""The Ray that trials run on: a cluster that is there, or one of our own on this machine for as long as it is needed.

Not for RayClusters in Kubernetes. What a trial sees, and where its files go, is ``environments.in_process``'s affair.
"""

from __future__ import annotations

import functools
import math
import secrets
import signal
import socket
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchyard import config
from batchyard.linux import adopt_orphans, adopts_orphans
from batchyard.model.errors import EnvironmentUnavailable, Fault
from batchyard.model.quantity import to_cpus
from batchyard.model.spec_environment import Isolation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchyard.config import RayConfig
    from batchyard.model.spec import BatchTest

RAY_SETTINGS: Mapping[str, str] = {
    # A worker that is stopped does not hear that it is to end; this is when it is killed instead (5 s else).
    "RAY_kill_worker_timeout_milliseconds": "100",
    # What a killed actor's processes leave behind is killed too.
    "RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper": "1",
    # It would kill actors, which are small, for what their trials' processes hold.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Trials see the accelerators that the node has; and Ray does not warn that it will change its mind.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Environment variables of every process of a Ray that trials run on."""

NAMESPACE = "batchyard"
_KNOCK_SECONDS = 10.0
_ONE_TRY = {"RAY_gcs_server_port_wait_time_s": "1"}
"""Has Ray try once, 40 s, to find the cluster it joins; else it tries twenty times."""

_PATIENCE = {"RAY_gcs_server_port_wait_time_s": "120"}
"""Ray gives its first process 30 s, which a busy machine may need."""

_LONGEST_WORDS = 300
_OBJECT_STORE_BYTES = 128 * 1024**2  # results pass through it one by one, and what is over goes to disk
_LONGEST_FOLDER = 24  # characters, for Ray's sockets below it have names of up to 80, and 107 is a socket's limit


@contextmanager
def connected(ray_config: RayConfig, cpus: float) -> Iterator[None]:
    """Be connected to the cluster at the address, or to a Ray of our own with ``cpus`` processors, ended at the end.

    If this process is connected already, that is used and left as it is. Raises ``EnvironmentUnavailable``.
    """
    with config.exported(RAY_SETTINGS):
        if not ray_config.address:
            _have_a_token()
        ray = _ray()
        if ray.is_initialized():
            yield
            return
        with _as_a_parent_kept(), _joined(ray, ray_config.address) if ray_config.address else _started(ray, cpus):
            yield


def faults(batch: BatchTest) -> list[Fault]:
    """Return what the file asks for that cannot be had on Ray."""
    if batch.spec.environment.isolation is not Isolation.THREAD:
        return []
    return [
        Fault(
            "spec.environment.isolation",
            Isolation.THREAD.value,
            "is not for Ray, whose actors run no user code in their own process",
            "write isolation: Process, or use --runner threads",
        )
    ]


def cpus_per_trial(batch: BatchTest) -> float:
    """Return the processors that each actor needs: the most that any combination asks for, or 1 if none does."""
    asked = [
        to_cpus(override.resources.cpu)
        for override in batch.spec.variants.overrides
        if override.resources is not None and override.resources.cpu is not None
    ]
    most = max(asked, default=1.0)
    return float(math.ceil(most)) if most > 1 else most  # Ray shares out parts of one processor, not of several


def _ray() -> Any:
    try:
        import ray
    except ImportError as err:
        raise EnvironmentUnavailable(
            f"Ray is not installed here ({err}); run: pip install 'batchyard[ray]', or use --runner threads"
        ) from err
    return ray


@contextmanager
def _joined(ray: Any, address: str) -> Iterator[None]:
    if address.startswith("ray://"):
        raise EnvironmentUnavailable(
            f"the address {address} is of a Ray Client, which cannot run a batch; "
            "run batchyard on a node of the cluster with the address auto, or as a Ray job"
        )
    try:
        try:
            _knock(address)
            with _kept(signal.SIGTERM), config.exported(_ONE_TRY):
                ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
        except Exception as err:  # Ray's own, of whatever kind
            raise EnvironmentUnavailable(
                f"no connection to the Ray cluster at {address}: {err}; check the address, that the cluster runs and "
                "that RAY_AUTH_TOKEN is that cluster's"
            ) from err
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """See that something listens there: Ray itself would try for twenty minutes, deaf to Ctrl-C."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return  # such as auto: Ray finds the address
    with socket.create_connection((host.strip("[]"), int(port)), _KNOCK_SECONDS):
        pass


@contextmanager
def _started(ray: Any, cpus: float) -> Iterator[None]:
    base = tempfile.gettempdir()
    base = base if len(base) <= _LONGEST_FOLDER else "/tmp"  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="by-ray-", dir=base, ignore_cleanup_errors=True) as folder:
        try:
            try:
                _start(ray, cpus, folder)
            except Exception as err:  # Ray's own, of whatever kind
                raise EnvironmentUnavailable(
                    f"no Ray could be started on this machine: {err}{_last_words(Path(folder))}; "
                    f"see that there is memory and room in {base}, or use --runner threads"
                ) from err
            yield
        finally:
            ray.shutdown()


def _start(ray: Any, cpus: float, folder: str) -> None:
    with _kept(signal.SIGTERM), config.exported(_PATIENCE):
        ray.init(
            address="local",  # never a cluster that happens to run here
            num_cpus=max(1, math.ceil(cpus)),
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            namespace=NAMESPACE,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=folder,
        )


def _last_words(folder: Path) -> str:
    """Return what the processes of a Ray that did not start said last; its folder will be gone."""
    said = []
    for log in sorted(folder.glob("session_2*/logs/*.[eo][ru][rt]")):
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = [line.strip() for line in lines if line.strip()][-1:]
        said += [f"{log.name}: {line[:_LONGEST_WORDS]}" for line in last]
    return f" ({'; '.join(said)})" if said else ""


@functools.cache
def _have_a_token() -> None:
    """Give every Ray that this process starts a token of its own, so that nobody else on this machine can use it.

    Without one Ray looks for one in the user's home, and leaves it there. Only once: Ray reads it when it is imported.
    """
    config.export_missing({"RAY_AUTH_TOKEN": secrets.token_hex(32)})
    if "ray" not in sys.modules:
        config.export_missing({"RAY_AUTH_MODE": "token"})


@contextmanager
def _as_a_parent_kept() -> Iterator[None]:
    """Undo at the end that Ray has this process adopt orphans, and the ends of children ignored; it needs both itself.

    Left so, nobody could learn any more how a process of this one ended, and those that it starts would inherit it.
    """
    adopted = adopts_orphans()
    try:
        with _kept(signal.SIGCHLD):
            yield
    finally:
        adopt_orphans(adopted)


@contextmanager
def _kept(number: signal.Signals) -> Iterator[None]:
    """Undo at the end what Ray decided about a signal: who runs a batch does."""
    before = signal.getsignal(number)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(number, before)
