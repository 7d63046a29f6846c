"""Chat messages of other tools as LangGraph takes them: mappings with ``role`` and ``content``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.importing.losses import Losses
    from batchyard.model.trial import JSON

_ROLES = {
    "human": "user",
    "ai": "assistant",
    "HumanMessage": "user",
    "HumanMessageChunk": "user",
    "AIMessage": "assistant",
    "AIMessageChunk": "assistant",
    "SystemMessage": "system",
    "ToolMessage": "tool",
}
_KNOWN_ROLES = {"system", "developer", "user", "assistant", "tool", "function"}
_KEPT = ("name", "tool_calls", "tool_call_id")
# What a message is wrapped in, or what a model said about itself; nothing a workflow is given.
_SILENT = {"role", "type", "content", "id", "source", "model", "example", "additional_kwargs", "response_metadata"}


def chat(value: JSON, place: str, losses: Losses) -> list[JSON] | None:
    """Return the messages in a list, or None if it is no list of messages."""
    if not isinstance(value, list) or not value:
        return None
    messages = [_message(one, place, losses) for one in value]
    return None if any(message is None for message in messages) else messages


def asked(value: JSON, place: str, field: str, losses: Losses) -> dict[str, JSON] | None:
    """Return the input that a sample's text, under the name ``field``, or messages make; None if it is neither."""
    if isinstance(value, str):
        return {field: value}
    messages = chat(value, place, losses)
    if messages is None:
        losses.add(place, "a sample without an `input` of text or messages", "give it one")
        return None
    return {"messages": messages}


def _message(value: JSON, place: str, losses: Losses) -> dict[str, JSON] | None:
    if not isinstance(value, dict):
        return None
    role, fields = _opened(value)
    if role not in _KNOWN_ROLES or "content" not in fields:
        return None
    for key, lost in fields.items():
        if lost and key not in {*_SILENT, *_KEPT}:
            losses.add(place, f"field `{key}` of a message", "add it to the case's message if the workflow reads it")
    kept = {key: fields[key] for key in _KEPT if fields.get(key)}
    return {"role": role, "content": _content(fields["content"]), **kept}


def _opened(value: Mapping[str, JSON]) -> tuple[str, Mapping[str, JSON]]:
    """Return the role and the fields: of plain messages, and of LangChain's two ways to write one down."""
    fields: JSON = value
    if value.get("lc") == 1 and isinstance(value.get("id"), list) and value["id"]:
        role, fields = str(value["id"][-1]), value.get("kwargs")
    elif "role" not in value and isinstance(value.get("data"), dict):
        role, fields = str(value.get("type")), value["data"]
    else:
        role = str(value.get("role", value.get("type")))
    return _ROLES.get(role, role), fields if isinstance(fields, dict) else {}


def _content(content: JSON) -> JSON:
    """Return the text of a message that has nothing but text in parts, else the content as it is."""
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        return "\n".join(str(part.get("text", "")) for part in content)
    return "" if content is None else content
