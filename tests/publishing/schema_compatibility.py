"""Compares two JSON Schemas of one message version: can a reader of the former one read messages of the new one?

The rules suit the schemas of this project: objects, arrays, enums, types, numbers and patterns, without references.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]


def incompatibilities(former: Schema, new: Schema, path: str = "") -> list[str]:
    """Changes that a reader of `former` may not read, each with its place; empty if there are none."""
    return list(_faults(former, new, path or "message"))


def _faults(former: Schema, new: Schema, path: str) -> Iterator[str]:
    if former.get("const") != new.get("const"):
        yield f"{path}: constant {former.get('const')} became {new.get('const')}"
    if added := set(new.get("enum", ())) - set(former.get("enum", ())):
        yield f"{path}: new values {sorted(added)}"
    if "enum" in former and "enum" not in new:
        yield f"{path}: any value instead of {former['enum']}"
    if added := _types(new) - _types(former):
        yield f"{path}: new types {sorted(added)}"
    for name in ("pattern", "format"):
        if former.get(name) not in (None, new.get(name)):
            yield f"{path}: {name} {former[name]} became {new.get(name)}"
    yield from _bounds(former, new, path)
    yield from _fields(former, new, path)
    if "items" in former:
        yield from _faults(former["items"], new.get("items", {}), f"{path}[]")


def _bounds(former: Schema, new: Schema, path: str) -> Iterator[str]:
    for name in ("minimum", "exclusiveMinimum", "minLength", "minItems"):
        if name in former and new.get(name, float("-inf")) < former[name]:
            yield f"{path}: {name} {former[name]} became {new.get(name)}"
    for name in ("maximum", "exclusiveMaximum", "maxLength", "maxItems"):
        if name in former and new.get(name, float("inf")) > former[name]:
            yield f"{path}: {name} {former[name]} became {new.get(name)}"


def _fields(former: Schema, new: Schema, path: str) -> Iterator[str]:
    before, after = former.get("properties", {}), new.get("properties", {})
    for name in sorted(set(former.get("required", ())) - set(new.get("required", ()))):
        yield f"{path}.{name}: no longer required"
    for name in sorted(before.keys() - after.keys()):
        yield f"{path}.{name}: removed"
    if former.get("additionalProperties") is False:
        for name in sorted(after.keys() - before.keys()):
            yield f"{path}.{name}: added, and readers refuse unknown fields"
    for name in sorted(before.keys() & after.keys()):
        yield from _faults(before[name], after[name], f"{path}.{name}")


def _types(schema: Schema) -> set[str]:
    """The allowed types; `integer` is also a `number`. No type is any type."""
    types = schema.get("type", ["string", "number", "integer", "boolean", "null", "object", "array"])
    listed = {types} if isinstance(types, str) else set(types)
    if "const" in schema or "enum" in schema:
        return set()
    return listed | ({"integer"} if "number" in listed else set())
