"""A process that makes an environment: ``FOLDER REQUIREMENT`` prints its Python."""

from __future__ import annotations

import sys
from pathlib import Path

from batchyard.clock import SystemClock
from batchyard.engine.ports import RuntimeEnvironment
from batchyard.environments.virtual import VirtualEnvironments


def main() -> None:
    """Make it, or find it made."""
    clock = SystemClock()
    environments = VirtualEnvironments("plain_parts:PlainParts", clock, Path(sys.argv[1]))
    runtime = RuntimeEnvironment("key", packages=(sys.argv[2],))
    python = environments.python(runtime, until=clock.monotonic() + 120, is_over=lambda: False)
    print(python, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
