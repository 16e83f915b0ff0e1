"""The names of a new zoo, all derived from one: distribution, import package, architecture class, kind."""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass

from app_loader.errors import LoaderError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
TAKEN = frozenset({"policy-interface", "app-loader", "mpt-format", "torch"})
"""Names that a zoo cannot have: it would hide what it stands beside."""


class ZooNameError(LoaderError, ValueError):
    """A name that a zoo cannot have.

    Attributes:
        name: the name.
        reason: what is wrong with it.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"a zoo cannot be called {name!r}: {reason}; expected a name like my-zoo")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.name, self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooNames:
    """The names of a zoo.

    Attributes:
        distribution: as in ``my-zoo``.
        package: as in ``my_zoo``.
        kind: the kind of its first architecture, as in ``my_zoo_mlp``: unique, because kinds of several zoos meet.
    """

    distribution: str
    package: str
    kind: str


def parse_zoo_name(text: str) -> ZooNames:
    """Return the names of a zoo.

    Raises:
        ZooNameError: not a distribution's name in its normal form, or one that hides another package.
    """
    package = text.replace("-", "_")
    if not _NAME.fullmatch(text):
        raise ZooNameError(text, "not lower-case words joined by single dashes")
    if keyword.iskeyword(package) or package in sys.stdlib_module_names:
        raise ZooNameError(text, f"{package} is a word of Python or of its standard library")
    if text in TAKEN:
        raise ZooNameError(text, "it is a package that a zoo stands beside")
    return ZooNames(distribution=text, package=package, kind=f"{package}_mlp")
