"""Ways in which a secret once got out: each test failed before its fault was mended."""

from __future__ import annotations

import subprocess
import sys

import pytest

from batchyard.events.redact import MASK, SHORTEST_SECRET, Redactor
from batchyard.runners.attempt import cut

HIDDEN = "sk-live/0123456789 abcdef"
SHOWN = 1999
"""How much a message that was cut shows."""


@pytest.mark.parametrize("shown", range(1, len(HIDDEN) + 1))
def test_the_beginning_of_a_secret_right_before_a_cut_is_masked_if_it_is_long_enough_to_tell(shown: int) -> None:
    message = cut("x" * (SHOWN - shown) + HIDDEN + " was refused")

    masked = Redactor([HIDDEN]).text(message)

    rest = MASK if shown >= SHORTEST_SECRET else HIDDEN[:shown]
    assert masked == "x" * (SHOWN - shown) + rest + "…"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("sk-live/01… (2100 characters) and sk-live/0123…", "[redacted]… (2100 characters) and [redacted]…"),
        ("the key sk-live%2F012…", "the key [redacted]…"),
        (f"{HIDDEN}… and {HIDDEN}", "[redacted]… and [redacted]"),
        ("sk-live/01 … sk-live/01", "sk-live/01 … sk-live/01"),
        ("wait… done…", "wait… done…"),
    ],
    ids=["two cuts", "in a URL", "whole", "not before the cut", "plain"],
)
def test_only_what_stands_right_before_a_cut_is_taken_for_half_a_secret(text: str, masked: str) -> None:
    assert Redactor([HIDDEN, "sk-other-secret"]).text(text) == masked


def test_of_two_secrets_that_begin_alike_nothing_of_the_longer_is_left() -> None:
    redactor = Redactor(["abcdef-one-and-on", "ef-one-another"])

    assert redactor.text("it was abcdef-one-an…") == "it was [redacted]…"


def test_a_traceback_in_the_log_shows_no_values_of_variables() -> None:
    code = f"""
import structlog
from batchyard.log_format import LogFormat
from batchyard.logs import configure
def attempt(env):
    raise ValueError("broken")
configure(LogFormat.TEXT, 0)
try:
    attempt({{"API_KEY": "".join({list(HIDDEN)})}})
except ValueError:
    structlog.get_logger("test").exception("attempt broke")
"""

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stderr

    assert "ValueError: broken" in told
    assert HIDDEN not in told
