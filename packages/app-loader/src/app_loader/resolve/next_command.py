"""What to run when no code may be used: one line that can be pasted, with the archive, the store and the wheel in it.

A word in capitals stands only where nothing at hand tells the value.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from app_loader.resolve.resolution import Candidate
from app_loader.store.store import default_store_path

if TYPE_CHECKING:
    from mpt_format import CodeRecord

    from app_loader.store import Store


def find_next_command(
    record: CodeRecord,
    requested: str,
    candidates: Sequence[Candidate],
    store: Store,
    *,
    archive: str = "ARCHIVE",
    indexed: bool = False,
) -> str:
    """Return the command that would make the code usable.

    Args:
        record: the manifest's code record.
        requested: ``trained``, ``current`` or a version text.
        candidates: what was considered.
        store: where the code was looked for; named in the command unless it is the default one.
        archive: the archive's path.
        indexed: whether a configured index is listed for the distribution.
    """
    there = "" if store.path == default_store_path() else f" --store {shlex.quote(str(store.path))}"
    wheel = next((each.location for each in candidates if each.location), None)
    if wheel is not None:
        return f"mpt zoo add {shlex.quote(wheel)}{there}"
    if requested == "trained":
        # an archive may say anything, and not every shell knows remarks
        named = f"{shlex.quote(record.distribution)} {shlex.quote(record.version)}"
        if record.wheel_sha256 is not None and indexed:
            return f"mpt zoo add {archive}{there}"
        if record.wheel_sha256 is not None:
            return f"mpt zoo add WHEEL{there}   # {named} sha256:{record.wheel_sha256[:12]}"
        if record.package_sha256 is None and record.unit_sha256 is None:
            # adding a wheel would change nothing: without a digest none of them can be told to be the trained one
            chosen = shlex.quote(record.version)
            return f"mpt load {archive} --code {chosen}{there}   # no digest was recorded: choose the code"
        if record.commit is not None:  # saved from a working tree: there is no wheel
            repository = record.repository
            here = repository is not None and "://" not in repository and Path(repository).is_dir()
            place = shlex.quote(repository) if here and repository else "LOCAL_CLONE"
            return f"mpt zoo add {archive} --from-source --repository {place}{there}"
        return f"mpt zoo add WHEEL{there}   # {named}: the wheel that trained it, or one of the very same files"
    if requested == "current":
        return f"mpt zoo add WHEEL{there}   # any version of {shlex.quote(record.distribution)}; or install it"
    if not _is_version(requested):
        known = sorted({each.version for each in candidates if each.version})
        return (
            f"mpt load {archive} --code trained{there}   # or current, or a version: {', '.join(known) or 'none here'}"
        )
    return f"mpt zoo add WHEEL{there}   # {shlex.quote(record.distribution)} {shlex.quote(requested)}"


def _is_version(requested: str) -> bool:
    try:
        Version(requested.partition("@")[0])
    except InvalidVersion:
        return False
    return True
