"""The virtual environment in which the peers live, made once and kept in the user's cache folder.

Apart from ours because their dependencies clash with it; keyed by the requirement file and the Python version.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from platformdirs import user_cache_path

REQUIREMENTS = Path(__file__).resolve().parent / "peers.txt"


def peers_python() -> str:
    """Return the interpreter of the peers' environment, making the environment if it is not there.

    Raises:
        subprocess.CalledProcessError: A package could not be installed.
    """
    key = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = user_cache_path("batchyard") / f"benchmark-peers-{key}"
    python, finished = folder / "bin" / "python", folder / "finished"
    if not finished.exists():
        print(f"installing the peers of {REQUIREMENTS.name}; they are kept for the next time", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "--requirement", str(REQUIREMENTS)], check=True)
        finished.touch()
    return str(python)
