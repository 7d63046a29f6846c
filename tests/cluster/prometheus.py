"""A real Prometheus, and promtool, from Debian's package: what scrapes an operator and what judges its alerts."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any, Self

import httpx

from cluster.bed.client import go_without
from cluster.bed.packages import by_hand
from cluster.bed.running import holds_within, path_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def program(name: str) -> str:
    """Return where a program of the package is; without it the test skips, or fails where it is required."""
    found = path_of(name)
    if found is None:
        go_without(f"{name} is not installed: {by_hand(['prometheus'])}")
    return found


def promtool(*words: str | Path, stdin: str | None = None) -> tuple[int, str]:
    """Return how promtool ended and what it said."""
    command = [program("promtool"), *map(str, words)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


class Prometheus:
    """One server that scrapes one target every second. Ends with its context."""

    def __init__(self, folder: Path, port: int, target: str, labels: Mapping[str, str], rules: Path) -> None:
        """``folder`` keeps its data and its log; ``labels`` are what it adds to the target's series."""
        self._folder, self._url = folder, f"http://127.0.0.1:{port}"
        self._config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [
                {"job_name": "batchyard", "static_configs": [{"targets": [target], "labels": dict(labels)}]}
            ],
        }
        self._command = [
            program("prometheus"),
            f"--config.file={folder / 'prometheus.json'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx.Client(base_url=self._url, timeout=10, trust_env=False)

    def __enter__(self) -> Self:
        # JSON is YAML.
        (self._folder / "prometheus.json").write_text(json.dumps(self._config))
        with (self._folder / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        if not holds_within(60, self._is_ready, every=0.2):
            raise AssertionError(f"Prometheus is not ready\n{(self._folder / 'prometheus.log').read_text()[-3000:]}")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
        self._client.close()

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of its API. Fails with its error."""
        answer = self._client.get(f"/api/v1/{path}", params=parameters).json()
        assert answer["status"] == "success", f"{parameters}: {answer.get('error')}"
        return answer["data"]

    def values(self, query: str) -> list[float]:
        """Return the values that a query has now, none if there is no such series."""
        return [float(one["value"][1]) for one in self.ask("query", query=query)["result"]]

    def shows(self, query: str, value: float) -> bool:
        """Return whether a query has one value now, and it is this."""
        return self.values(query) == [value]

    def alerts(self) -> dict[str, str]:
        """Return the alerts that are not inactive, by name, with their state."""
        return {one["labels"]["alertname"]: one["state"] for one in self.ask("alerts")["alerts"]}

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule that it evaluates, with its health."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def _is_ready(self) -> bool:
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.HTTPError:
            return False
