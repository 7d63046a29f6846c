"""What one end writes the other reads as it was; what is no message is refused with a sentence, never a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from batchyard.model.wire import Manifest, Receipt, Segment, WireInvalid, directive_from
from wire_builders import json_value, manifests, receipts, segments, through_json

if TYPE_CHECKING:
    from batchyard.model.wire import Receipt as _Receipt


@given(segments)
def test_a_segment_comes_back_as_it_was(segment: Segment) -> None:
    assert Segment.from_json(through_json(segment.to_json())) == segment


@given(manifests)
def test_a_manifest_comes_back_as_it_was(manifest: Manifest) -> None:
    assert Manifest.from_json(through_json(manifest.to_json())) == manifest


@given(receipts)
def test_a_receipt_comes_back_as_it_was_and_answers_a_heartbeat_too(receipt: _Receipt) -> None:
    document = through_json(receipt.to_json())

    assert Receipt.from_json(document) == receipt
    assert directive_from(document) == receipt.directive


@given(document=json_value)
def test_any_other_json_is_refused_with_a_sentence(document: Any) -> None:
    for read in (Segment.from_json, Manifest.from_json, Receipt.from_json, directive_from):
        assert _reason(read, document)


@given(data=st.data(), segment=segments, wrong=json_value)
def test_a_segment_with_anything_wrong_in_it_is_refused_with_its_place_or_still_is_one(
    data: st.DataObject, segment: Segment, wrong: Any
) -> None:
    document = through_json(segment.to_json())
    _spoil(data, document, wrong)

    reason = _reason(Segment.from_json, document)

    assert reason is None or reason.startswith("segment")


@given(data=st.data(), manifest=manifests, wrong=json_value)
def test_a_manifest_with_anything_wrong_in_it_is_refused_with_its_place_or_still_is_one(
    data: st.DataObject, manifest: Manifest, wrong: Any
) -> None:
    document = through_json(manifest.to_json())
    _spoil(data, document, wrong)

    reason = _reason(Manifest.from_json, document)

    assert reason is None or reason.startswith("manifest")


def _reason(read: Any, document: Any) -> str | None:
    """Return why a document is refused, None if it is not; anything but ``WireInvalid`` fails the test."""
    try:
        read(document)
    except WireInvalid as err:
        return str(err)
    return None


def _spoil(data: st.DataObject, document: Any, wrong: Any) -> None:
    """Put ``wrong`` in one place of the document, or take something away there."""
    places = [*_places(document)]
    holder, key = data.draw(st.sampled_from(places))
    if data.draw(st.booleans()):
        holder[key] = wrong
    else:
        del holder[key]


def _places(document: Any) -> Any:
    pairs = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in pairs:
        yield document, key
        if isinstance(value, dict | list):
            yield from _places(value)
