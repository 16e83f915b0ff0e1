"""A distribution by requirement: the wheelhouses are looked through first, then the indexes listed for its name.

A digest decides where one is given. Without one, the wheelhouses are a person's own choice, and what of them fits
best is taken; two wheels of one version with different digests are not chosen between.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from app_loader.errors import SourceRefusedError
from app_loader.settings import Settings
from app_loader.sources.companions import PinnedCompanion
from app_loader.sources.companions import resolve_companions as add_companions
from app_loader.sources.index import fetch_wheels
from app_loader.sources.wheelhouse import find_wheels, wheel_sha256
from app_loader.store import Entry, Store
from app_loader.store.store import check_pinned
from app_loader.store.wheel import read_wheel


def add_requirement(
    store: Store,
    requirement: str,
    settings: Settings,
    *,
    companions: Sequence[str] = (),
    sha256: str | None = None,
    unit_sha256: str | None = None,
    resolve_companions: bool = True,
) -> Entry:
    """Add a distribution by requirement, from a configured wheelhouse or index, with the companions it needs.

    A companion is a library that the wheel asks for in a range outside of what is installed, or that is not installed,
    and that is pure Python. torch, numpy, pydantic, safetensors and the contract are never companions.

    Args:
        store: where to add it.
        requirement: as in ``x-transformers==1.42.0``.
        settings: what may be taken from where.
        companions: further requirements or wheel files to take in as private companions.
        sha256: the digest that the main wheel must have.
        unit_sha256: the digest that the wheel and its companions together must have.
        resolve_companions: whether to look for companions that were not named.

    Raises:
        SourceRefusedError: no configured source gives it.
        IntegrityError: a wheel has another digest than the one asked for.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        main, source = _take(requirement, settings, folder, sha256)
        private: dict[str, Path] = {}
        for text in companions:
            path = Path(text)
            wheel = path if path.suffix == ".whl" else _take(text, settings, folder, None)[0]
            private[canonicalize_name(read_wheel(wheel).name)] = wheel
        if resolve_companions:
            add_companions(main, private, lambda text: _take(text, settings, folder, None)[0])
        private.pop(canonicalize_name(read_wheel(main).name), None)
        return store.add(
            [main, *private.values()],
            sha256=sha256,
            unit_sha256=unit_sha256,
            provenance={
                "source": source,
                "requirement": requirement,
                "pinned": sha256,
                "files": [main.name, *(p.name for p in private.values())],
            },
        )


def take_pinned(pinned: Sequence[PinnedCompanion], settings: Settings, folder: Path) -> list[Path]:
    """Return the wheels of companions that an archive pins, each by its digest.

    Raises:
        SourceRefusedError: no configured source gives one of them.
        IntegrityError: a source gives another one of its name.
    """
    found = []
    for each in pinned:
        requirement = str(_requirement(f"{each.distribution}=={each.version}"))
        found.append(_take(requirement, settings, folder, each.sha256)[0])
    return found


def _take(requirement: str, settings: Settings, folder: Path, sha256: str | None) -> tuple[Path, str]:
    """Return the main wheel and the kind of source that gave it."""
    wanted = _requirement(requirement)
    found = find_wheels(settings.wheelhouses, wanted, None if sha256 is None else sha256.lower())
    # 1.0+local is another version to pip and fits ==1.0 as well: nobody should get it who did not ask for it
    # and 1.0.0 is the same version as 1.0
    digests = {wheel_sha256(path) for path in found if _public(path) == _public(found[-1])}
    if len(digests) > 1:
        raise SourceRefusedError(
            requirement,
            [f"the wheelhouses have it with several digests: {', '.join(sorted(d[:12] for d in digests))}"],
            f"mpt zoo add {shlex.quote(requirement)} --sha256 DIGEST",
        )
    if found:
        return found[-1], "wheelhouse"
    problems = [f"none of the wheelhouses has it: {', '.join(map(str, settings.wheelhouses)) or 'none is configured'}"]
    try:
        fetched = fetch_wheels([requirement], settings, folder)
    except SourceRefusedError as error:
        raise SourceRefusedError(requirement, [*problems, *error.problems], error.next_command) from error
    if not fetched:
        raise SourceRefusedError(requirement, [*problems, "no index gave a wheel"], "mpt zoo add WHEEL")
    check_pinned(fetched[0], wheel_sha256(fetched[0]), sha256)
    return fetched[0], "index"


def _requirement(text: str) -> Requirement:
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise SourceRefusedError(
            text, [f"it is no file, folder, archive, repository or requirement: {error}"], "mpt zoo add --help"
        ) from error
    if requirement.url is not None:  # as in name @ https://...: no setting says whether to trust it
        raise SourceRefusedError(
            requirement.name, ["a URL decides by itself whose code it is"], "mpt zoo add WHEEL   # once downloaded"
        )
    return requirement


def _public(path: Path) -> Version:
    return Version(parse_wheel_filename(path.name)[1].public)
