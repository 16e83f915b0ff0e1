"""Where a new zoo gets policy-interface from: an index that is named, or one that the settings here know.

A name alone is looked up in the public index, where it may belong to a stranger; so the project names its index.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app_loader.errors import LoaderError
from app_loader.settings import Settings

CONTRACT = "policy-interface"


class NoIndexError(LoaderError, ValueError):
    """What was named is no place where a package could come from.

    Attributes:
        text: what was named.
        reason: what is wrong with it.
    """

    def __init__(self, text: str, reason: str) -> None:
        self.text = text
        self.reason = reason
        super().__init__(
            f"{CONTRACT} cannot come from {text!r}: {reason}; expected a folder of wheels, a folder with an index of "
            "them, or a URL with its scheme, as in https://packages.example.org/simple/"
        )


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
    """Return the index that a person named: a URL, or a folder, of wheels or of a simple API.

    Raises:
        NoIndexError: no URL, and no such folder, or a folder in which the contract is not.
    """
    if "://" in text and not text.startswith("file://"):
        return NamedIndex(url=text, flat=False)
    folder = Path(text.removeprefix("file://")).expanduser()
    if not folder.is_dir():
        raise NoIndexError(text, "it is no folder here")
    if _has_wheel(folder, CONTRACT):
        return NamedIndex(url=str(folder.resolve()), flat=True)
    if (folder / CONTRACT).is_dir():
        return NamedIndex(url=folder.resolve().as_uri(), flat=False)
    raise NoIndexError(text, f"it has neither a wheel of {CONTRACT} nor a page {CONTRACT}/ of an index")


def _has_wheel(folder: Path, distribution: str) -> bool:
    return any(folder.glob(f"{distribution.replace('-', '_')}-*.whl"))


def find_index(settings: Settings) -> NamedIndex | None:
    """Return the first configured wheelhouse or index that has the contract, None when there is none."""
    for folder in settings.wheelhouses:
        if _has_wheel(folder, CONTRACT):
            return parse_index(str(folder))
    for index in settings.indexes:
        if index.gives(CONTRACT):
            with suppress(NoIndexError):  # a folder that is gone since it was listed
                return parse_index(index.url)
    return None
