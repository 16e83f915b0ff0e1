"""Stage config: the archive's architecture document beside the config class of the code, field by field."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from policy_interface import InvalidConfigError, PolicyArchitecture

from app_loader.diagnosis.assumed import assume
from app_loader.diagnosis.finding import DRAFT, Finding
from app_loader.diagnosis.schema import (
    Schema,
    component,
    field_at,
    former_names,
    json_types,
    own_path,
    properties,
    resolve,
    union_of,
    value_at,
)

_NOTHING = object()
_PYTHON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


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
            next_command=DRAFT,
            change="schema",
        )
    schema = cls.model_json_schema()
    config = document.get("config", {})
    told = list(_fields(config, schema, schema, "", sources))
    refused = list(_refused(config, cls, schema, {f.subject for f in told if f.change != "default"}))
    paths = {finding.subject for finding in refused}
    yield from (f for f in told if not (f.change == "default" and f.subject in paths))
    yield from refused


def assumed_document(document: Mapping[str, Any], cls: type[PolicyArchitecture]) -> dict[str, Any]:
    """Return the nearest document that the code would accept: for looking only (`assumed`)."""
    return assume(document, cls).document


def _fields(
    config: Mapping[str, Any], node: Schema, schema: Schema, prefix: str, sources: Mapping[str, str]
) -> Iterator[Finding]:
    known = properties(node, schema)
    renamed = former_names(known)
    new = [name for name in known if name not in config]
    for name, value in config.items():
        path = prefix + name
        if name in known:
            yield from _value(path, value, known[name], schema, sources)
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
                next_command=DRAFT,
                change="renamed",
            )
        else:
            yield Finding(
                stage="config",
                severity="error",
                subject=path,
                message=f"the field {name!r} is unknown to the code",
                old=value,
                candidates=tuple(_meant(name, value, {each: known[each] for each in new}, schema)),
                next_command=DRAFT,
                change="unknown",
            )
    taken = {renamed[name] for name in config if name in renamed}
    for name in new:
        if name in taken:
            continue
        required = "default" not in known[name]
        said = " and the code gives it no default" if required else " and would take its default"
        yield Finding(
            stage="config",
            severity="error" if required else "warning",
            subject=prefix + name,
            message=f"the field {name!r} is new{said}",
            new=known[name].get("default"),
            evidence=tuple(_asked(known[name], schema)) if required else (),
            next_command=DRAFT if required else "",
            change="required" if required else "new",
        )


def _value(path: str, value: Any, field: Schema, schema: Schema, sources: Mapping[str, str]) -> Iterator[Finding]:
    """Look into components and lists of them; anything else has a default or none."""
    child = component(field, schema, value)
    if isinstance(value, Mapping) and "properties" in child:
        yield from _fields(value, child, schema, path + ".", sources)
    elif isinstance(value, list) and "properties" in component(child.get("items", {}), schema, (value or [None])[0]):
        for i, each in enumerate(value):
            yield from _value(f"{path}[{i}]", each, child["items"], schema, sources)
    else:
        yield from _default(path, value, field, sources)


def _default(path: str, value: Any, field: Schema, sources: Mapping[str, str]) -> Iterator[Finding]:
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
            change="default",
        )


def _refused(
    config: Mapping[str, Any], cls: type[PolicyArchitecture], schema: Schema, told: set[str]
) -> Iterator[Finding]:
    """Yield every value that the code does not accept and that no finding has told yet."""
    try:
        cls.from_document({"kind": cls.kind, "schema_version": cls.schema_version, "config": dict(config)})
    except InvalidConfigError as error:
        problems = error.problems
    except Exception as error:  # a validator is model code
        yield Finding(
            stage="config",
            severity="error",
            subject="config",
            message=f"a validator of the code raised {type(error).__name__}: {error}",
            next_command="mpt load ARCHIVE --code trained",
        )
        return
    else:
        return
    assumptions = {said.partition(" = ")[0]: said for said in assume({"config": config}, cls).assumptions}
    for problem in problems:
        path = own_path(problem.path.removeprefix("config."), config)
        if path in told:
            continue
        field, value = field_at(path, config, schema), value_at(path, config)
        looked = (f"the next stages were looked at with {assumptions[path]}",) if path in assumptions else ()
        tag, members = union_of(field, schema)
        if members and isinstance(value, Mapping):  # the value is a component that no member of the union reads
            path, value = f"{path}.{tag}", value.get(tag)
        yield Finding(
            stage="config",
            severity="error",
            subject=path,
            message="the code does not accept the value",
            old=value,
            evidence=(problem.message, *looked),
            candidates=tuple(_allowed(field, schema, value)),
            next_command=DRAFT,
            change="refused",
        )


def _meant(name: str, value: Any, new: Schema, schema: Schema) -> Iterator[str]:
    """Yield the new fields that a field may be called now: near names, then the only one that takes its value."""
    near = difflib.get_close_matches(name, new, n=3, cutoff=0.4)
    yield from near
    kind = _PYTHON_TYPES.get(type(value), "")
    fitting = [each for each, field in new.items() if kind in json_types(field, schema)]
    if len(fitting) == 1 and fitting[0] not in near:
        yield fitting[0]


def _asked(field: Schema, schema: Schema) -> Iterator[str]:
    types = sorted(json_types(field, schema))
    if types:
        yield f"it takes {' or '.join(types)}"


def _allowed(field: Schema, schema: Schema, value: Any) -> Iterator[str]:
    """Yield the values, or the tags of a union, that the code knows, nearest first."""
    field = resolve(field, schema)
    options = [str(each) for each in field.get("enum", ())] or list(union_of(field, schema)[1])
    if "const" in field:
        options = [str(field["const"])]
    yield from difflib.get_close_matches(str(value), options, n=len(options) or 1, cutoff=0.0)
