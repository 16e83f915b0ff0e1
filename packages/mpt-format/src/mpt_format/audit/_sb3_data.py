"""The JSON of a stable-baselines3 zip: the cloudpickles that it keeps as base64.

Decodes as leniently as the library that loads it; a key that stands twice is a problem of the file.
"""

from __future__ import annotations

__all__ = ["read_sb3_data"]

import base64
import binascii
import json
from functools import partial

from ._container import Candidate, Container
from ._limits import Limits
from ._stream import Buffer

_MAX_JSON_BYTES = 64 << 20


def read_sb3_data(content: Buffer, container: Container, limits: Limits, label: str) -> None:
    """Audit the cloudpickles that stable-baselines3 keeps as base64 in the JSON member `data`."""
    if len(content) > _MAX_JSON_BYTES:
        container.limits_hit.append(f"{label}: more than {_MAX_JSON_BYTES} bytes of JSON")
        return
    try:
        document = json.loads(content[:], object_pairs_hook=partial(_take_pairs, container, label))
    except (ValueError, RecursionError):
        container.problems.append(f"{label} is no JSON")
        return
    pending: list[tuple[str, object]] = [("", document)]
    while pending:
        where, value = pending.pop()
        if isinstance(value, dict):
            serialized = value.get(":serialized:")
            if isinstance(serialized, str):
                try:
                    raw = base64.b64decode(serialized)  # leniently, as the library that loads it does
                except (binascii.Error, ValueError):
                    container.problems.append(f"{label}{where}: the base64 text is broken")
                    continue
                if not container.may_read_on(limits):
                    return
                stream = container.read_stream(raw, 0, limits)
                container.candidates.append(Candidate(name=f"{label}{where}", stream=stream))
            pending.extend((f"{where}[{key!r}]", inner) for key, inner in reversed(list(value.items())))
        elif isinstance(value, list):
            pending.extend((f"{where}[{index}]", inner) for index, inner in reversed(list(enumerate(value))))


def _take_pairs(container: Container, label: str, pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object; a key that stands twice is a problem, because readers differ in which one they take."""
    taken = dict(pairs)
    if len(taken) < len(pairs):
        problem = f"{label} has a key twice"
        if problem not in container.problems:
            container.problems.append(problem)
    return taken
