"""Where a new zoo gets policy-interface from: an index that is named, or one that the settings here know.

A name alone is looked up in the public index, where it may belong to a stranger; so the project names its index.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from app_loader.settings import Settings

CONTRACT = "policy-interface"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedIndex:
    """An index as uv reads it from pyproject.toml.

    Attributes:
        url: of its simple API, or a folder.
        flat: whether it is a folder of wheels and no simple API.
    """

    url: str
    flat: bool


def parse_index(text: str) -> NamedIndex:
    """Return the index that a person named: a URL, or a folder, of wheels or of a simple API."""
    folder = Path(text.removeprefix("file://"))
    if not folder.is_dir():
        return NamedIndex(url=text, flat=False)
    flat = any(folder.glob("*.whl"))
    return NamedIndex(url=str(folder.resolve()) if flat else folder.resolve().as_uri(), flat=flat)


def find_index(settings: Settings) -> NamedIndex | None:
    """Return the first configured wheelhouse or index that has the contract, None when there is none."""
    for folder in settings.wheelhouses:
        if any(folder.glob("policy_interface-*.whl")):
            return parse_index(str(folder))
    return next((parse_index(index.url) for index in settings.indexes if index.gives(CONTRACT)), None)
