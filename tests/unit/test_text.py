"""YAML and JSON as Kubernetes reads them, and nothing in them that grows without end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchyard.model.text import MAX_ALIASED_CHARACTERS, parse_text

if TYPE_CHECKING:
    from batchyard.model.trial import JSON


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("1E6", 1e6),
        ("1.5e3", 1500.0),
        ("-.5", -0.5),
        ("7.", 7.0),
        ("12", 12),
        ("-0", 0),
        ("1_000", 1000),
        ("0x1F", 31),
        ("010", 8),
        ("12:30", "12:30"),
        ("1:30.5", "1:30.5"),
        ("2024-01-01", "2024-01-01"),
        ("e5", "e5"),
        ("1e", "1e"),
        ("=", "="),
        ("yes", True),
    ],
)
def test_plain_words_are_what_kubernetes_takes_them_for(text: str, value: JSON) -> None:
    parsed = parse_text(f"a: {text}")

    assert (parsed.value, parsed.faults) == ({"a": value}, ())
    assert type(parsed.value["a"]) is type(value)


@pytest.mark.parametrize("text", [".inf", "-.Inf", ".nan", "1e999"])
def test_a_number_that_is_not_finite_is_a_fault(text: str) -> None:
    (fault,) = parse_text(f"a: {text}").faults

    assert fault.message == "is not a number that can be reckoned with"


@pytest.mark.parametrize("entry", ["*long", "{*long : 1}"])
def test_a_long_text_that_aliases_write_out_again_and_again_is_refused(entry: str) -> None:
    long = "x" * 10_000
    text = f"a: &long {long}\nmany:\n" + f"- {entry}\n" * (MAX_ALIASED_CHARACTERS // len(long))

    (fault,) = parse_text(text).faults

    assert fault.message == "is too large once its aliases are written out"


def test_a_long_text_without_aliases_is_as_long_as_it_is() -> None:
    text = "x" * (MAX_ALIASED_CHARACTERS + 1)

    assert parse_text(f"a: {text}").value == {"a": text}
