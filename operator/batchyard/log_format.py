"""How log lines are written, as a choice that the command line offers before anything that logs is imported."""

from enum import StrEnum


class LogFormat(StrEnum):
    """How a log line is written."""

    TEXT = "text"
    JSON = "json"
