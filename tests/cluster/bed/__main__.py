"""The test bed's command line: ``python -m cluster.bed up|down|status|images`` with ``tests`` on the path."""

from __future__ import annotations

import argparse
import sys

from cluster.bed import settings
from cluster.bed.choice import Bed, choose
from cluster.bed.running import BedFailed, say


def main() -> int:
    """Do what the command line asks for; return 1 when the bed cannot."""
    parser = argparse.ArgumentParser(prog="cluster.bed", description=__doc__)
    commands = {
        "up": "bring the cluster up, or repair it, with the images of the checkout as it is now",
        "down": "stop it and leave nothing but logs",
        "status": "tell what runs; exit code 1 when something does not",
        "images": "build and import the images anew",
    }
    chosen = parser.add_subparsers(dest="command", required=True)
    for name, what in commands.items():
        chosen.add_parser(name, help=what)
    excuse = "end well where this machine can have no cluster, unless CI or BATCHYARD_REQUIRE_CLUSTER says it must"
    chosen.choices["up"].add_argument("--if-possible", action="store_true", help=excuse)
    given = parser.parse_args()
    wanted = settings.read()
    try:
        bed = choose(wanted)
    except BedFailed as err:
        say(str(err))
        return 0 if given.command == "up" and given.if_possible and not wanted.required else 1
    return _do(bed, given.command)


def _do(bed: Bed, command: str) -> int:
    try:
        if command == "status":
            faults = bed.faults()
            say("; ".join(faults) if faults else f"{bed.kind} is up: {bed.kubeconfig}")
            return 1 if faults else 0
        {"up": bed.up, "down": bed.down, "images": bed.load_images}[command]()
    except BedFailed as err:
        say(str(err))
        return 1
    if command == "up":
        say(f"{bed.kind} is up; use it with: export KUBECONFIG={bed.kubeconfig}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
