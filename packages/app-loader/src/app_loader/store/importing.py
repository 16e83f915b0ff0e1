"""`import_isolated`: one stored version of a package, by requirement, beside every other."""

from __future__ import annotations

from types import ModuleType

from packaging.requirements import Requirement

from app_loader.errors import VersionNotStoredError
from app_loader.store.store import Store


def import_isolated(
    requirement: str, module: str | None = None, *, store: Store | None = None, digest: str | None = None
) -> ModuleType:
    """Import a module of a stored distribution under its isolated name. Nothing is fetched.

    Args:
        requirement: as in ``x-transformers==1.42.0``; the newest stored version that it accepts is taken.
        module: the module's original name; the distribution's only top-level name when not given.
        store: where to look; the default store when not given.
        digest: the first digits of the sha256 that the unit or its main wheel must have.

    Example:
        >>> old = import_isolated("x-transformers==1.42.0", "x_transformers")  # doctest: +SKIP

    Raises:
        VersionNotStoredError: the store has no such version.
        NativeCodeError: the module needs compiled files of the entry.
        IntegrityError: a source file is not what was pinned.
        ImportError: as a plain import would raise.
    """
    wanted = Requirement(requirement)
    place = store if store is not None else Store()
    accepted = [
        entry.version
        for entry in place.entries()
        if _same(entry.distribution, wanted.name) and wanted.specifier.contains(entry.version, prereleases=True)
    ]
    entry = place.find(wanted.name, accepted[-1], digest) if accepted else None
    if entry is None:
        raise VersionNotStoredError(
            distribution=wanted.name,
            version=str(wanted.specifier) or "any version",
            digest=digest,
            store=str(place.path),
            next_command=f"mpt zoo add '{requirement}'   # or: mpt zoo add WHEEL",
        )
    name = module if module is not None else entry.top_levels[0]
    return entry.import_module(name)


def _same(one: str, other: str) -> bool:
    from packaging.utils import canonicalize_name

    return canonicalize_name(one) == canonicalize_name(other)
