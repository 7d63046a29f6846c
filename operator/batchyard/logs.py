"""Log lines: where they go, what they look like, and which batch and trial each is about. Any layer may use it.

Every process of a run is set up once: the command by ``configure``, those that it starts by ``take_over``. What a whole
process is about is said by ``identified``, what a thread or task is at by ``about``. Not for what a user is told on
purpose (``cli.terminal``), though as JSON that is a line here too.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

import structlog

from batchyard.clock import SystemClock
from batchyard.log_format import LogFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from structlog.typing import EventDict, Processor, WrappedLogger

    from batchyard.model.trial import JSON

_CHATTY = ("aiohttp.access", "alembic", "httpcore", "httpx", "opentelemetry", "urllib3")
"""They tell of every request, or of every failed one, and say nothing that Batchyard does not."""


@dataclass(slots=True)
class _Settings:
    """How this process logs. ``fields`` are on every line of it; each of ``masks`` goes over every line."""

    format: LogFormat = LogFormat.TEXT
    verbosity: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    masks: list[Callable[[str], str]] = field(default_factory=list)


_settings = _Settings()


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to whatever standard error is now, so that a live display can put lines above itself."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _stream: TextIO) -> None:
        return


def configure(log_format: LogFormat, verbosity: int) -> None:
    """Send log lines to standard error: warnings and worse, info with ``verbosity`` 1, everything with 2.

    As JSON, which is for machines, info is always among them; and whatever else would be written there, an error that
    nobody caught for one, is a line of JSON too.
    """
    _settings.format, _settings.verbosity = log_format, verbosity
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _identified,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = _StandardError()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(log_format), _masked],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    levels = {0: logging.INFO if as_json() else logging.WARNING, 1: logging.INFO}
    root.setLevel(levels.get(verbosity, logging.DEBUG))
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING if verbosity < 2 else logging.NOTSET)
    if as_json():
        _catch_the_uncaught()


def as_json() -> bool:
    """Return whether this process writes its lines as JSON."""
    return _settings.format is LogFormat.JSON


# -- what a line is about ------------------------------------------------------------------------------------------


@contextmanager
def identified(**fields: str) -> Iterator[None]:
    """Say what this whole process is about meanwhile; it is on every line, whichever thread writes it."""
    before = _settings.fields
    _settings.fields = {**before, **fields}
    try:
        yield
    finally:
        _settings.fields = before


@contextmanager
def about(**fields: object) -> Iterator[None]:
    """Say what this thread or task is at; what is empty is left out."""
    with structlog.contextvars.bound_contextvars(**{name: value for name, value in fields.items() if value}):
        yield


def mask(secrets_out: Callable[[str], str]) -> None:
    """Have every line go through ``secrets_out`` from now on."""
    _settings.masks.append(secrets_out)


@contextmanager
def masking(secrets_out: Callable[[str], str]) -> Iterator[None]:
    """Have every line go through ``secrets_out`` meanwhile."""
    mask(secrets_out)
    try:
        yield
    finally:
        _settings.masks.remove(secrets_out)


# -- processes that this one starts --------------------------------------------------------------------------------


def for_child() -> dict[str, JSON]:
    """Return what a process that works for this one needs for ``take_over``; nothing unless lines are JSON."""
    if not as_json():
        return {}
    return {"format": _settings.format.value, "verbosity": _settings.verbosity, "fields": dict(_settings.fields)}


def take_over(given: Mapping[str, JSON]) -> None:
    """Log as the process does that started this one, if it said how."""
    if given:
        configure(LogFormat(given["format"]), given["verbosity"])
        _settings.fields = dict(given["fields"])


# -- lines that are not logged -------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Log what a user is told on purpose."""
    structlog.get_logger("batchyard").info(text)


def say_failed(text: str, *, kind: str, exit_code: int, error: BaseException | None = None) -> None:
    """Log why a command fails; ``error`` is what shall be shown with its traceback."""
    structlog.get_logger("batchyard").error(text, error=kind, exit_code=exit_code, exc_info=error)


def line(text: str) -> str:
    """Return a line of JSON without going through the log, whose locks a signal handler must not wait for."""
    now = SystemClock().now().isoformat().replace("+00:00", "Z")
    return json.dumps({"event": text, **_settings.fields, "level": "warning", "logger": "batchyard", "timestamp": now})


def _catch_the_uncaught() -> None:
    def log(kind: type[BaseException], err: BaseException | None, at: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        info = (kind, err or kind(), at)
        structlog.get_logger("batchyard").critical("an error that nobody caught", exc_info=info)

    sys.excepthook = log
    threading.excepthook = lambda told: log(told.exc_type, told.exc_value, told.exc_traceback)
    sys.unraisablehook = lambda told: log(told.exc_type, told.exc_value, told.exc_traceback)
    logging.captureWarnings(True)


def _identified(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    for name, value in _settings.fields.items():
        event.setdefault(name, value)
    return event


def _masked(_logger: WrappedLogger, _name: str, rendered: EventDict) -> str:
    # The one before it has made a line of the event.
    text = str(rendered)
    for secrets_out in _settings.masks:
        text = secrets_out(text)
    return text


def _rendering(log_format: LogFormat) -> list[Processor]:
    if log_format is LogFormat.JSON:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    # The default formatter shows local variables, and with them the secrets among them.
    return [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
