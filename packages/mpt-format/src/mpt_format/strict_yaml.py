"""Strict YAML: the one document of an archive that people read and edit is parsed from its events.

The event stream is judged before any object is made, so nothing can be constructed, aliased or expanded: anchors,
aliases, tags, merge keys, duplicate keys, several documents, timestamps and binary are refused, as are size, depth and
node counts beyond the format's limits. (PyYAML's `safe_load` keeps the last of duplicate keys and expands alias bombs.)

Source: YAML 1.1 as PyYAML resolves it, restricted to the JSON types plus .inf and .nan.
"""

from __future__ import annotations

import math
import re
from typing import Any, NoReturn

from mpt_format.errors import ArchiveProblem, MalformedDocumentError
from mpt_format.format import MAX_ARCHITECTURE_BYTES, MAX_DEPTH, MAX_YAML_NODES
from mpt_format.strict_json import Json

_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff]")


def parse_yaml(data: bytes, *, subject: str, max_bytes: int = MAX_ARCHITECTURE_BYTES) -> Json:
    """Parse one strict YAML document.

    Args:
        data: the bytes, UTF-8.
        subject: the member's name, for errors.
        max_bytes: refuse longer texts.

    Raises:
        MalformedDocumentError: not strict YAML, or beyond a limit.
    """
    import yaml  # 30 ms: not paid by `mpt inspect --json` of an archive without an architecture

    def refuse(message: str) -> NoReturn:
        raise MalformedDocumentError(None, [ArchiveProblem(where=subject, message=message)])

    if len(data) > max_bytes:
        refuse(f"has {len(data)} bytes, at most {max_bytes} are allowed")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        refuse(f"is not UTF-8: {error}")
    control = _CONTROL.search(text)
    if control:
        refuse(f"holds the control character {control.group()!r}")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder(yaml)
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.take(event)
    except yaml.YAMLError as error:
        refuse(f"is not YAML: {' '.join(str(error).split())}")
    except RecursionError:
        refuse(f"is nested deeper than {MAX_DEPTH} levels")
    except _RefusedError as error:
        refuse(str(error))
    if builder.documents != 1:
        refuse("is empty; one document was expected")
    return builder.root


class _RefusedError(ValueError):
    """Raised by the builder; becomes a MalformedDocumentError."""


class _Builder:
    """Builds plain values from events with an explicit stack."""

    def __init__(self, yaml: Any) -> None:
        self._yaml = yaml
        self._resolver = yaml.resolver.Resolver()
        self._stack: list[tuple[Json, list[str]]] = []  # container, and for a mapping the key that waits for its value
        self._nodes = 0
        self.root: Json = None
        self.documents = 0

    def take(self, event: Any) -> None:
        yaml = self._yaml
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, "an alias")
        if isinstance(event, yaml.NodeEvent):
            self._nodes += 1
            if self._nodes > MAX_YAML_NODES:
                self._refuse(event, f"more than {MAX_YAML_NODES} nodes")
            if event.anchor is not None:
                self._refuse(event, "an anchor")
            if event.tag is not None:
                self._refuse(event, "a tag")
            if len(self._stack) >= MAX_DEPTH:
                self._refuse(event, f"nesting beyond {MAX_DEPTH} levels")
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self._refuse(event, "a second document")
            if event.version or event.tags:
                self._refuse(event, "a directive")
        elif isinstance(event, yaml.ScalarEvent):
            self._put(event, self._scalar(event))
        elif isinstance(event, yaml.MappingStartEvent):
            self._open(event, {})
        elif isinstance(event, yaml.SequenceStartEvent):
            self._open(event, [])
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._stack.pop()

    def _refuse(self, event: Any, what: str) -> NoReturn:
        mark = event.start_mark
        raise _RefusedError(f"holds {what} at line {mark.line + 1}, column {mark.column + 1}")

    def _open(self, event: Any, container: Json) -> None:
        self._put(event, container)
        self._stack.append((container, []))

    def _put(self, event: Any, value: Json) -> None:
        if not self._stack:
            self.root = value
            return
        container, waiting = self._stack[-1]
        if isinstance(container, list):
            container.append(value)
        elif isinstance(container, dict):
            if waiting:
                container[waiting.pop()] = value
            elif not isinstance(value, str):
                self._refuse(event, "a key that is not a text; put it in quotes")
            elif value in container:
                self._refuse(event, f"the key {value!r:.80} twice")
            else:
                waiting.append(value)

    def _scalar(self, event: Any) -> Json:
        text: str = event.value
        if not event.implicit[0]:  # quoted or block: always a text
            return text
        tag = self._resolver.resolve(self._yaml.ScalarNode, text, (True, False)).removeprefix(_TAG)
        if tag == "str":
            return text
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() in ("yes", "true", "on")
        if tag == "int":
            if not _INTEGER.fullmatch(text) or len(text) > 20:
                self._refuse(event, f"the integer {text[:24]!r}, which is not plain decimal of 64 bits")
            return int(text)
        if tag == "float":
            return self._float(event, text)
        return self._refuse(event, f"a value of type {tag!r} ({text[:40]!r}); put it in quotes")

    def _float(self, event: Any, text: str) -> float:
        word = text.lower().replace(".inf", "inf").replace(".nan", "nan")
        try:
            value = float(word)
        except ValueError:
            self._refuse(event, f"the number {text[:40]!r}")
        if math.isinf(value) and "inf" not in word:
            self._refuse(event, f"the number {text[:40]!r}, which overflows")
        return value


def format_yaml(document: Json) -> str:
    """Return the canonical YAML text of a document: block style, given key order, no anchors.

    Raises:
        MalformedDocumentError: the text does not read back as the same document.
    """
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True  # equal lists are written twice: readers refuse anchors

    text: str = yaml.dump(
        document, Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120
    )
    if repr(parse_yaml(text.encode("utf-8"), subject="policy_architecture.yaml")) != repr(document):
        problem = ArchiveProblem(where="policy_architecture.yaml", message="does not read back as the same document")
        raise MalformedDocumentError(None, [problem])
    return text
