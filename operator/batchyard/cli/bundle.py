"""``bundle``: prints what a cluster needs to run a BatchTest, all of it or nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from batchyard.cli import document, manifests, terminal, words
from batchyard.cli.options import Output
from batchyard.decide.finish import EXIT_SUCCEEDED
from batchyard.engine.bundling import Wanted, bundle_file
from batchyard.environments.left_out import faults_of_file

if TYPE_CHECKING:
    from pathlib import Path


def print_bundle(file: Path, wanted: Wanted, output: Output) -> int:
    """Print the objects, and on standard error what to know about them; return the exit code."""
    bundle = bundle_file(file, wanted, faults_of_place=faults_of_file)
    for notice in bundle.notices:
        terminal.say(terminal.printable(notice))
    with terminal.reader_may_leave():
        if output is Output.JSON:
            document.print_json({"apiVersion": "v1", "kind": "List", "items": list(bundle.objects)})
        else:
            heading = f"Made by `batchyard bundle`: {words.plan_sentence(bundle.loaded.plan)}"
            # UTF-8 whatever the terminal's encoding is: the bytes are for a cluster and for files.
            sys.stdout.buffer.write(manifests.yaml_text(bundle.objects, heading).encode())
    return EXIT_SUCCEEDED
