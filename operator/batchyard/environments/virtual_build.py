"""Makes one virtual environment with uv: the packages of a variant in front, the base installation behind them.

Not for where it is kept or who uses it (``virtual``).
"""

from __future__ import annotations

import json
import os
import shutil
import sysconfig
from typing import TYPE_CHECKING

from batchyard import config
from batchyard.environments.commands import Patience, quote, run
from batchyard.environments.virtual_recipe import CannotBeInstalled, Recipe, base
from batchyard.model.errors import EnvironmentUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batchyard.environments.commands import Said

_NO_SOLUTION = 1
_LEAST_UV = "0.9.8"


def make(folder: Path, recipe: Recipe, parts: str, env: Mapping[str, str], patience: Patience) -> None:
    """Make the environment in an empty folder that may be renamed afterwards.

    ``parts`` names what a worker of the trials starts with; ``env`` is what the variant's trials see.
    Raises ``EnvironmentUnavailable``, with uv's own words, and ``CannotBeInstalled`` if no other place would help.
    """
    # First the one that was installed beside this package: it has what is asked of it.
    beside = [sysconfig.get_path("scripts", scheme) for scheme in ("posix_prefix", "posix_user")]
    uv = find_uv(*beside, config.search_path())
    doing = f"installing {', '.join(map(quote, recipe.packages))}"
    around = config.environment_with(env)
    made = run(
        [uv, "venv", "--quiet", "--relocatable", "--no-project", "--allow-existing", "--python", base().python, folder],
        folder=folder, env=around, patience=patience, doing=doing,
    )  # fmt: skip
    _refuse(made, doing)
    _refuse(_install(uv, folder, recipe, around, patience, doing), doing)
    site = next((folder / "lib").glob("python*/site-packages"))
    # After all other such files, so that what the packages add themselves comes before the base installation too.
    behind = "".join(f"import site; site.addsitedir({one!r})\n" for one in base().sites)
    (site / "zzz-batchyard-base.pth").write_text(behind)
    _check(folder, parts, around, patience, doing)


def _install(uv: str, folder: Path, recipe: Recipe, env: Mapping[str, str], patience: Patience, doing: str) -> Said:
    """Install the packages and what they need beyond the base installation, which stays as it is."""
    (folder / "requirements.txt").write_text("".join(f"{one}\n" for one in recipe.packages))
    # What is installed already is not resolved again: a variant differs from the others in what it names, and no more.
    (folder / "base.txt").write_text("".join(f"{name}\n" for name in sorted(base().names - recipe.names)))
    command: list[str | Path] = [uv, "pip", "install", "--quiet", "--color", "never"]
    command += ["--python", folder / "bin" / "python"]
    for name in sorted(recipe.folders):
        # uv does not look at all the files of a folder before it takes what it built of it once.
        command += ["--no-cache"] if env.get("UV_OFFLINE") else ["--refresh-package", name]
    command += ["--excludes", folder / "base.txt", "--requirement", folder / "requirements.txt"]
    return run(command, folder=folder, env=env, patience=patience, doing=doing)


def _check(folder: Path, parts: str, env: Mapping[str, str], patience: Patience, doing: str) -> None:
    """Refuse packages with which the trials' workers would not start, or that miss something."""
    command: list[str | Path] = [folder / "bin" / "python", "-P", "-m", "batchyard.environments.soundness", parts]
    said = run(command, folder=folder, env=env, patience=patience, doing=doing)
    if said.status != 0:
        raise CannotBeInstalled(f"{doing}: no worker of the trials starts with them: {said.quoted}")
    if said.output.strip():
        raise CannotBeInstalled(f"{doing}: {quote('; '.join(said.output.splitlines()))}")


def _refuse(said: Said, doing: str) -> None:
    if said.status == 0:
        return
    text = f"{doing}: uv says: {said.quoted}"
    if said.status == _NO_SOLUTION:
        raise CannotBeInstalled(text)
    raise EnvironmentUnavailable(f"{text}; see that the index can be reached from here, and that there is room")


def find_uv(*folders: str) -> str:
    """Return where uv is: in one of these folders, searched in order. Raises ``EnvironmentUnavailable``."""
    found = shutil.which("uv", path=os.pathsep.join(folders))
    if not found:
        raise EnvironmentUnavailable(
            f"packages of a variant are installed by uv ({_LEAST_UV} or later), which is not there; "
            "run: pip install 'batchyard[packages]'"
        )
    return found


def describe(folder: Path, recipe: Recipe, at: float) -> None:
    """Write down what the environment is, for whoever lists them: the last thing that is done to it."""
    size = sum(path.lstat().st_size for path in folder.rglob("*"))
    text = {"packages": [quote(one) for one in recipe.packages], "python": base().version, "bytes": size, "made": at}
    (folder / "environment.json").write_text(json.dumps(text))
