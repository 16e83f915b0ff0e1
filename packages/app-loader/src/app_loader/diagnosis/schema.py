"""A config class's JSON schema, walked beside a document: which fields stand where, also inside unions and lists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_PART = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def resolve(node: Schema, schema: Schema) -> Schema:
    """Return a node with its reference followed."""
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def component(node: Schema, schema: Schema, value: Any) -> Schema:
    """Return the node that describes a value: of a union, the member that the value's tag names, or the only one.

    A union none of whose members is meant comes back as it is: it has no properties.
    """
    node = resolve(node, schema)
    tag, members = union_of(node, schema)
    if tag and isinstance(value, Mapping):
        return members.get(str(value.get(tag)), node)
    kinds = {Mapping: "properties", list: "items"}
    for kind, key in kinds.items():
        if isinstance(value, kind) and key not in node:
            fitting = [each for each in (resolve(n, schema) for n in node.get("anyOf", ())) if key in each]
            if len(fitting) == 1:
                return fitting[0]
    return node


def union_of(node: Schema, schema: Schema) -> tuple[str, dict[str, Schema]]:
    """Return the field that holds a union's tag, and the members by tag; nothing for what is no tagged union."""
    told = resolve(node, schema).get("discriminator", {})
    members = {tag: resolve({"$ref": where}, schema) for tag, where in told.get("mapping", {}).items()}
    return str(told.get("propertyName", "")), members


def properties(node: Schema, schema: Schema) -> Schema:
    """Return a component's fields by name."""
    found: Schema = resolve(node, schema).get("properties", {})
    return found


def former_names(fields: Schema) -> dict[str, str]:
    """Return former name to today's, as the code declares them."""
    return {former: name for name, field in fields.items() for former in field.get("former_names", ())}


def json_types(node: Schema, schema: Schema) -> frozenset[str]:
    """Return the JSON types that a field may have; empty when the schema does not say."""
    node = resolve(node, schema)
    found = {node["type"]} if isinstance(node.get("type"), str) else set()
    if "properties" in node or "discriminator" in node:
        found.add("object")
    for each in node.get("anyOf", ()):
        found |= json_types(each, schema)
    return frozenset(found)


def parts_of(path: str) -> list[str | int]:
    """Return the parts of a path as in ``config.layers[0].width``."""
    return [int(number) if number else name for number, name in _PART.findall(path)]


def own_path(path: str, document: Any) -> str:
    """Return a validator's path as the document has it: the tags of unions, which stand in it too, are left out."""
    node, text = document, ""
    for part in parts_of(path):
        if isinstance(node, Mapping) and part not in node and part in [v for v in node.values() if isinstance(v, str)]:
            continue
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
        node = _child(node, part)
    return text


def value_at(path: str, document: Any, default: Any = None) -> Any:
    """Return the value at a path."""
    for part in parts_of(path):
        document = _child(document, part, default)
    return document


def field_at(path: str, document: Any, schema: Schema) -> Schema:
    """Return the schema of the field at a document's path; empty when there is none."""
    node: Schema = schema
    for part in parts_of(path):
        node = component(node, schema, document)
        node = node.get("items", {}) if isinstance(part, int) else node.get("properties", {}).get(part, {})
        document = _child(document, part)
    return node


def _child(node: Any, part: str | int, default: Any = None) -> Any:
    if isinstance(node, Mapping):
        return node.get(part, default)
    if isinstance(node, list | tuple) and isinstance(part, int) and part < len(node):
        return node[part]
    return default
