"""Which module names a unit owns: dotted prefixes, so that a namespace package can be half owned and half shared.

Decided from the list of files alone (RECORD, or a folder's listing); nothing is imported.
Source: PEP 420 (namespace packages), the "Recording installed projects" page of the PyPA specifications.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

NATIVE_SUFFIXES = (".so", ".pyd", ".dylib", ".dll")
_NEVER_MODULES = frozenset({"bin", "Scripts", "share", "include", "etc", "lib", "__pycache__"})
_METADATA = re.compile(r"\.(dist-info|data|egg-info)$")


@dataclass(frozen=True, kw_only=True)
class OwnedNames:
    """Names by prefix.

    Attributes:
        whole: everything at and below these names is owned.
        partly: namespace packages that hold owned names and may hold shared ones.
    """

    whole: frozenset[str]
    partly: frozenset[str]

    @cached_property
    def roots(self) -> frozenset[str]:
        """The first components of all names."""
        return frozenset(name.partition(".")[0] for name in self.whole | self.partly)

    def owns(self, name: str) -> bool:
        """Whether a dotted name belongs to the unit; a namespace package that is partly owned does."""
        root = name.partition(".")[0]
        if root not in self.roots:
            return False
        if root in self.whole or name in self.partly:
            return True
        parts = name.split(".")
        return any(".".join(parts[:count]) in self.whole for count in range(2, len(parts) + 1))

    def __or__(self, other: OwnedNames) -> OwnedNames:
        return OwnedNames(whole=self.whole | other.whole, partly=self.partly | other.partly)


def owned_names(files: Iterable[str]) -> OwnedNames:
    """Return the names that a list of files (posix paths, relative to the folder of modules) makes importable."""
    paths = [PurePosixPath(file) for file in files]
    modules = [path for path in paths if path.suffix in (".py", *NATIVE_SUFFIXES) and _importable(path)]
    packages = {path.parent.parts for path in modules if path.name == "__init__.py"}
    whole, partly = set(), set()
    for path in modules:
        parents = path.parent.parts
        for count in range(1, len(parents) + 1):
            if parents[:count] in packages:
                whole.add(".".join(parents[:count]))
                break
            partly.add(".".join(parents[:count]))
        else:
            whole.add(".".join([*parents, path.name.partition(".")[0]]))
    return OwnedNames(whole=frozenset(whole), partly=frozenset(partly))


def _importable(path: PurePosixPath) -> bool:
    parts = (*path.parent.parts, path.name.partition(".")[0])
    if (parts[0] in _NEVER_MODULES and len(parts) > 1) or _METADATA.search(path.parts[0]):
        return False
    return all(part.isidentifier() for part in parts)
