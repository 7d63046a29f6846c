"""Looks at a batch before anything of it runs: are its packages to be had, does its workflow build, do inputs fit?

Not for what the file itself says wrong; ``engine.sources`` has found that by now.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchyard.environments.virtual import package_faults
from batchyard.events.redact import Redactor
from batchyard.model.errors import EnvironmentUnavailable, Fault
from batchyard.runners.check import check_workflow
from batchyard.runners.workers import Wanted
from batchyard.setups import shareable_nodes

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchyard.clock import Clock
    from batchyard.engine.ports import RuntimeEnvironment
    from batchyard.engine.sources import LoadedBatch
    from batchyard.environments.in_process import InProcessEnvironment
    from batchyard.environments.virtual import VirtualEnvironments
    from batchyard.runners.worker import Setup
    from batchyard.runners.workers import LedWorker
    from batchyard.runners.zygotes import Zygotes


def first_faults(
    loaded: LoadedBatch,
    environment: InProcessEnvironment,
    setup: Setup,
    environments: VirtualEnvironments,
    zygotes: Zygotes,
    *,
    seconds: float,
    clock: Clock,
    ended: Callable[[], bool],
) -> list[Fault]:
    """Return every fault that shows only when packages are installed and the workflow is imported and built.

    It takes no longer than ``seconds``, and is given up when ``ended`` says so.
    Raises ``EnvironmentUnavailable`` if there is no finding out.
    """
    until = clock.monotonic() + seconds
    combinations = loaded.plan.combinations
    inputs = [(f"case {case.name}", loaded.plan.input_for(case)) for case in loaded.plan.cases]
    redact = Redactor(environment.secrets).text

    def spawn(runtime: RuntimeEnvironment) -> LedWorker:
        return zygotes.spawn(Wanted(runtime, until, ended, lambda _order, _outcome: None))

    try:
        found = package_faults(loaded.batch, combinations, environment, environments, until=until, is_over=ended)
        if not found:
            found = check_workflow(
                spawn,
                setup,
                environment,
                combinations,
                inputs if setup.input_schema else [],
                seconds=max(0.0, until - clock.monotonic()),
                clock=clock,
                ended=ended,
                declared=shareable_nodes(loaded.batch.spec),
            )
    except EnvironmentUnavailable as err:
        raise EnvironmentUnavailable(redact(str(err))) from err
    return [replace(fault, value=redact(fault.value), message=redact(fault.message)) for fault in found]
