"""The isolated name of a unit: readable, importable, and decided by its digest.

``model-zoo 1.2.0`` with digest ``3f9c2a1b...`` is imported as ``app_loader.isolated.model_zoo__1_2_0__3f9c2a1b``; its
module ``model_zoo.layers`` as ``<that>.model_zoo.layers``. The original name is what follows the identifier, always.
"""

from __future__ import annotations

import re
from typing import NamedTuple

PACKAGE = "app_loader.isolated"
PREFIX = PACKAGE + "."
SHIMS = "__shims__"
DIGEST_DIGITS = 8
"""How many hex digits of the digest stand in the name. Units that agree in them and differ in the rest are refused."""

_WORDS = {".": "_", "+": "_plus_", "!": "_epoch_", "-": "_"}
_IDENTIFIER = re.compile(r"^(?P<distribution>\w+?)__(?P<version>\w+)__(?P<digest>[0-9a-f]{8})$")


class Identity(NamedTuple):
    """What an identifier says, as text for people: the digest decides, not this."""

    distribution: str
    version: str
    digest: str


def make_identifier(distribution: str, version: str, digest: str) -> str:
    """Return the identifier of a unit.

    Example:
        >>> make_identifier("model-zoo", "1!2.0+g3f9c", "3f9c2a1b77")
        'model_zoo__1_epoch_2_0_plus_g3f9c__3f9c2a1b'
    """
    name = re.sub(r"[-_.]+", "_", distribution).lower()
    spelled = "".join(_WORDS.get(character, character) for character in version.lower())
    return f"{name}__{re.sub(r'[^a-z0-9_]', '_', spelled)}__{digest[:DIGEST_DIGITS]}"


def find_identity(identifier: str) -> Identity | None:
    """Return what an identifier says, None for a name that no unit can have."""
    match = _IDENTIFIER.match(identifier)
    if match is None:
        return None
    version = match["version"].replace("_plus_", "+").replace("_epoch_", "!").replace("_", ".")
    return Identity(match["distribution"].replace("_", "-"), version, match["digest"])


def original_name(name: str) -> str:
    """Return the original module name of an isolated one, and any other name as it is.

    Example:
        >>> original_name("app_loader.isolated.model_zoo__1_2_0__3f9c2a1b.model_zoo.layers")
        'model_zoo.layers'
    """
    if not name.startswith(PREFIX):
        return name
    identifier, _, original = name[len(PREFIX) :].partition(".")
    return original if original and find_identity(identifier) else name
