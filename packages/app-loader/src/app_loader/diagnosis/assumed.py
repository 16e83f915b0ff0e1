"""The nearest document that the code would accept, so that the stages after the config have something to look at.

Declared renames are followed and unknown fields left out. A field that is new without a default, and one whose value is
not accepted, gets its default or any value that fits; each such assumption is told. For looking only and never loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from policy_interface import InvalidConfigError, PolicyArchitecture

from app_loader.diagnosis.schema import (
    Schema,
    component,
    field_at,
    former_names,
    own_path,
    parts_of,
    properties,
    resolve,
    union_of,
    value_at,
)

_ROUNDS = 4  # a value that fits may show the next one that does not
_NOTHING = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """A document, and what was assumed in it.

    Attributes:
        document: kind, schema_version and config.
        assumptions: one sentence for each value that the archive does not have.
    """

    document: dict[str, Any]
    assumptions: tuple[str, ...] = ()


def assume(document: Mapping[str, Any], cls: type[PolicyArchitecture]) -> Assumed:
    """Return the nearest document that a class accepts, or as near as it could be made.

    Args:
        document: kind, schema_version and config.
        cls: the code's class.
    """
    schema = cls.model_json_schema()
    config: dict[str, Any] = _kept(deepcopy(dict(document.get("config", {}))), schema, schema)
    said: dict[str, str] = {}
    made = {"kind": cls.kind, "schema_version": cls.schema_version, "config": config}
    for _ in range(_ROUNDS):
        try:
            cls.from_document(made)
        except InvalidConfigError as error:
            for problem in error.problems:
                path = own_path(problem.path.removeprefix("config."), config)
                before = value_at(path, config, _NOTHING)
                value = _repaired(before, field_at(path, config, schema), schema)
                if value is not _NOTHING and _put(config, path, value):
                    instead = "" if before is _NOTHING else f" in place of {before!r:.60}"
                    said[path] = f"{path} = {value!r:.60}{instead}"
        except Exception:  # a validator is model code; building tells what it raised
            break
        else:
            break
    return Assumed(document=made, assumptions=tuple(said.values()))


def _kept(config: dict[str, Any], node: Schema, schema: Schema) -> dict[str, Any]:
    known = properties(node, schema)
    renamed = former_names(known)
    made: dict[str, Any] = {}
    for name, value in config.items():
        target = name if name in known else renamed.get(name)
        if target is not None:
            made[target] = _kept_value(value, known[target], schema)
    return made


def _kept_value(value: Any, node: Schema, schema: Schema) -> Any:
    child = component(node, schema, value)
    if isinstance(value, dict) and "properties" in child:
        return _kept(value, child, schema)
    if isinstance(value, list) and isinstance(child.get("items"), Mapping):
        return [_kept_value(each, child["items"], schema) for each in value]
    return value


def _repaired(value: Any, node: Schema, schema: Schema) -> Any:
    """Return a value that a field takes: the same under the tag of a member that has its fields, or else any."""
    tag, members = union_of(node, schema)
    if isinstance(value, dict) and value.get(tag) not in members:
        for name, member in members.items():
            if value.keys() <= properties(member, schema).keys():
                return {**value, tag: name}
    return _fitting(node, schema)


def _fitting(node: Schema, schema: Schema) -> Any:
    """Return a field's default, or else the plainest value that it takes."""
    if "default" in node:
        return deepcopy(node["default"])
    node = resolve(node, schema)
    for key in ("default", "const"):
        if key in node:
            return deepcopy(node[key])
    if node.get("enum"):
        return node["enum"][0]
    least = node.get("minimum", node.get("exclusiveMinimum", 0) + 1)
    plain: dict[str, Any] = {
        "integer": least,
        "number": float(least),
        "boolean": False,
        "string": "",
        "array": [],
        "null": None,
    }
    if "properties" in node:
        fields = {name: _fitting(field, schema) for name, field in node["properties"].items()}
        return _NOTHING if _NOTHING in fields.values() else fields
    options = [*node.get("anyOf", ()), *node.get("oneOf", ())]
    return _fitting(options[0], schema) if options else plain.get(str(node.get("type")), _NOTHING)


def _put(config: dict[str, Any], path: str, value: Any) -> bool:
    *above, last = parts_of(path) or [""]
    node: Any = config
    for part in above:
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            return False
    if isinstance(node, dict) and isinstance(last, str) and last:
        node[last] = value
        return True
    if isinstance(node, list) and isinstance(last, int) and last < len(node):
        node[last] = value
        return True
    return False
