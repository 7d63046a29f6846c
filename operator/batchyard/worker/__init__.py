"""The worker of a batch in a cluster: gets its manifest, runs the trials, reports. Needs no operator to go on.

Not for running a trial (``runners``) nor for the protocol's messages (``model.wire``).
"""

from batchyard.worker.run import run_worker
from batchyard.worker.settings import WorkerSettings

__all__ = ["WorkerSettings", "run_worker"]
