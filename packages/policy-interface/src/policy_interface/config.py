"""Configs: frozen values that round-trip through canonical YAML and JSON and refuse what they do not know.

A config is data and nothing else: no callable, no class path, no infinity, no value that only exists in memory.
What a file says is read strictly (a string is never taken for a number); unknown keys are refused with their path.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, cast

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from policy_interface.errors import InvalidConfigError, Problem
from policy_interface.origin import origin_of

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as _ModelType
else:
    _ModelType = type(BaseModel)  # pydantic gives its metaclass no public name


def canonical_json(document: object) -> str:
    """Return the one JSON text of a document: sorted keys, no spaces, no NaN or infinity.

    Raises:
        ValueError: the document holds a float that is not finite.
        TypeError: the document holds something that is not JSON.
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_yaml(document: object) -> str:
    """Return the one YAML text of a document: block style, keys in the given order, no anchors, UTF-8."""
    return yaml.dump(
        document, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120
    )


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # equal lists are written twice: readers refuse anchors
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # these line breaks come back as spaces from every style but the double-quoted one, which escapes them
        style = '"' if any(character in data for character in "\x85\u2028\u2029") else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_PlainDumper.add_representer(str, _PlainDumper.represent_str)


class _ConfigType(_ModelType):
    """The class of every config class; it says which version an isolated one belongs to."""

    def __repr__(cls) -> str:
        origin = origin_of(cls)
        return f"<class {origin}>" if origin.digest else super().__repr__()


class Config(BaseModel, metaclass=_ConfigType):
    """Base of every config.

    Constructing one in Python raises ``pydantic.ValidationError`` (a ``ValueError``) for a bad value; reading one from
    a document raises ``InvalidConfigError``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @classmethod
    def from_document(cls, document: Any, *, at: str = "") -> Self:
        """Build a config from plain data (what YAML or JSON gives).

        Args:
            document: mappings, lists, strings, numbers, booleans and None.
            at: the path of ``document`` inside a larger one, put before every problem's path.

        Raises:
            InvalidConfigError: with every problem found, each with its path.
        """
        try:
            text = canonical_json(document)
        except (TypeError, ValueError) as error:
            problem = Problem(path=at or "document", message=f"not plain data: {error}")
            raise InvalidConfigError(cls.__name__, [problem]) from None
        try:
            return cls.model_validate_json(text, strict=True)
        except ValidationError as error:
            raise InvalidConfigError(cls.__name__, list(_problems(cls, error, at))) from None

    def to_document(self) -> dict[str, Any]:
        """Return the config as plain data, every field with its value, defaults included, in declared order."""
        return self.model_dump(mode="json")

    @classmethod
    def from_yaml(cls, text: str) -> Self:
        """Parse one YAML document.

        Raises:
            InvalidConfigError: not YAML, or not this config.
        """
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InvalidConfigError(cls.__name__, [Problem(path="document", message=f"not YAML: {error}")]) from None
        return cls.from_document(document)

    def to_yaml(self) -> str:
        """Return the canonical YAML text."""
        return canonical_yaml(self.to_document())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse one JSON document.

        Raises:
            InvalidConfigError: not JSON, or not this config.
        """
        try:
            document = json.loads(text)
        except ValueError as error:
            raise InvalidConfigError(cls.__name__, [Problem(path="document", message=f"not JSON: {error}")]) from None
        return cls.from_document(document)

    def to_json(self) -> str:
        """Return the canonical JSON text."""
        return canonical_json(self.to_document())

    def fields_set(self) -> tuple[str, ...]:
        """Return the dotted paths of the fields that the author set; every other field took its default."""
        return tuple(_fields_set(self, ""))

    @classmethod
    def schema_digest(cls) -> str:
        """Return the sha256 (hex) of the config's canonical JSON schema: equal digests, equal fields and defaults."""
        return hashlib.sha256(canonical_json(cls.model_json_schema()).encode()).hexdigest()


class ComponentConfig(Config):
    """Base of the config of one part of a policy: an encoder, a core, a head."""


def _fields_set(config: BaseModel, prefix: str) -> Iterator[str]:
    for name in type(config).model_fields:  # declared order, so that two saves agree
        if name not in config.model_fields_set:
            continue
        value = getattr(config, name)
        yield prefix + name
        if isinstance(value, BaseModel):
            yield from _fields_set(value, f"{prefix}{name}.")


def _problems(cls: type[BaseModel], error: ValidationError, at: str) -> Iterator[Problem]:
    for item in error.errors(include_url=False):
        path = _path(item["loc"], at)
        if item["type"] == "extra_forbidden":
            known = _known_fields(cls, item["loc"][:-1])
            close = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            yield Problem(path=path, message=f"unknown key, expected one of {', '.join(known) or 'none'}{meant}")
        else:
            shown = "" if item["type"] == "missing" else f", got {item['input']!r:.80}"
            yield Problem(path=path, message=f"{item['msg']}{shown}")


def _path(location: tuple[int | str, ...], at: str) -> str:
    text = at
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "document"


def _known_fields(cls: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the fields of the config that stands at a location of the schema, or none where it cannot be told."""
    schema = cls.model_json_schema()
    node: Mapping[str, Any] = schema
    for part in location:
        node = _resolve(schema, node)
        if isinstance(part, int):
            node = node.get("items", {})
        elif part in node.get("properties", {}):
            node = node["properties"][part]
        else:  # the tag of a discriminated union stands in the location
            mapping = node.get("discriminator", {}).get("mapping", {})
            node = {"$ref": mapping[part]} if part in mapping else node
    return list(_resolve(schema, node).get("properties", {}))


def _resolve(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in node:
        node = cast("Mapping[str, Any]", schema["$defs"][node["$ref"].rpartition("/")[2]])
    return node
