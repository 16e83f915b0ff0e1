"""Stage config: the archive's architecture document beside the config class of the code.

Also makes the best document that the code would accept, so that the later stages have something to look at; it is for
looking only and
never loaded.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from policy_interface import InvalidConfigError, PolicyArchitecture

from app_loader.diagnosis.finding import Finding

_NOTHING = object()


def judge_config(
    document: Mapping[str, Any], cls: type[PolicyArchitecture], sources: Mapping[str, str]
) -> Iterator[Finding]:
    """Yield every difference between a stored config and the class that would read it.

    Args:
        document: kind, schema_version and config.
        cls: the code's class of that kind.
        sources: dotted path to ``author`` or ``default``, as the archive remembers.
    """
    if document.get("schema_version") != cls.schema_version:
        yield Finding(
            stage="config",
            severity="error",
            subject="schema_version",
            message="the config has another schema than the code reads",
            old=document.get("schema_version"),
            new=cls.schema_version,
        )
    schema = cls.model_json_schema()
    yield from _fields(document.get("config", {}), schema, schema, "", sources)
    try:
        cls.from_document(assumed_document(document, cls))
    except InvalidConfigError as error:
        for problem in error.problems:
            yield Finding(
                stage="config", severity="error", subject=problem.path, message=f"not accepted: {problem.message}"
            )


def _fields(
    config: Mapping[str, Any],
    node: Mapping[str, Any],
    schema: Mapping[str, Any],
    prefix: str,
    sources: Mapping[str, str],
) -> Iterator[Finding]:
    known = _properties(node, schema)
    renamed = _renamed(known)
    for name, value in config.items():
        path = prefix + name
        if name in known:
            child = _resolve(known[name], schema)
            if isinstance(value, Mapping) and "properties" in child:
                yield from _fields(value, child, schema, path + ".", sources)
            else:
                yield from _default(path, value, known[name], sources)
        elif name in renamed and renamed[name] not in config:
            yield Finding(
                stage="config",
                severity="error",
                subject=path,
                message=f"the field {name!r} is called {renamed[name]!r} now",
                old=value,
                new=renamed[name],
                evidence=(f"the code declares {name!r} as a former name of {renamed[name]!r}",),
                candidates=(renamed[name],),
                next_command="mpt migrate draft ARCHIVE --to current -o revision.py",
            )
        else:
            near = tuple(difflib.get_close_matches(name, [k for k in known if k not in config], n=3, cutoff=0.4))
            yield Finding(
                stage="config",
                severity="error",
                subject=path,
                message=f"the field {name!r} is unknown to the code",
                old=value,
                candidates=near,
                next_command="mpt migrate draft ARCHIVE --to current -o revision.py",
            )
    taken = set(config) | {renamed[name] for name in config if name in renamed}
    for name, field in known.items():
        if name not in taken:
            required = "default" not in field
            yield Finding(
                stage="config",
                severity="error" if required else "warning",
                subject=prefix + name,
                message=f"the field {name!r} is new" + ("" if required else " and would take its default"),
                new=field.get("default"),
            )


def _default(path: str, value: Any, field: Mapping[str, Any], sources: Mapping[str, str]) -> Iterator[Finding]:
    default = field.get("default", _NOTHING)
    if sources.get(path) == "default" and default not in (_NOTHING, None, value) and value is not None:
        yield Finding(
            stage="config",
            severity="note",
            subject=path,
            message="the default changed; the archive keeps the value of its time",
            old=value,
            new=default,
            evidence=("nobody chose it then: it was the default",),
        )


def assumed_document(document: Mapping[str, Any], cls: type[PolicyArchitecture]) -> dict[str, Any]:
    """Return the document with declared renames followed and unknown fields left out: for looking only."""
    schema = cls.model_json_schema()
    config = _assumed(deepcopy(dict(document.get("config", {}))), schema, schema)
    return {"kind": cls.kind, "schema_version": cls.schema_version, "config": config}


def _assumed(config: dict[str, Any], node: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    known = _properties(node, schema)
    renamed = _renamed(known)
    made: dict[str, Any] = {}
    for name, value in config.items():
        target = name if name in known else renamed.get(name)
        if target is None:
            continue
        child = _resolve(known[target], schema)
        nested = isinstance(value, dict) and "properties" in child
        made[target] = _assumed(value, child, schema) if nested else value
    return made


def _properties(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _resolve(node, schema).get("properties", {})
    return found


def _resolve(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def _renamed(known: Mapping[str, Any]) -> dict[str, str]:
    """Return former name to today's, as the code declares them."""
    return {former: name for name, field in known.items() for former in field.get("former_names", ())}
