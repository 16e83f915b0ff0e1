"""Which entries a person let stand for code that an archive pins and that could not be had byte for byte.

One small file for each: ``accepted/<pinned digest>__<digest of the entry>.json``. It lies beside the entries, which are
read-only and may have been added before.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """One entry that stands for a pinned digest.

    Attributes:
        pinned: sha256 (hex) that an archive pins: of a wheel, or of a package's files.
        digest: sha256 (hex) of the entry.
        because: why, in words.
        exact: whether it was built from the very files that were pinned; else a person named its digest.
    """

    pinned: str
    digest: str
    because: str
    exact: bool


def write_acceptance(store: Path, acceptance: Acceptance) -> None:
    """Keep an acceptance in a store's folder."""
    target = store / "accepted" / f"{acceptance.pinned}__{acceptance.digest}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(f".{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump({"because": acceptance.because, "exact": acceptance.exact}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)


def find_acceptance(store: Path, pinned: str | None, digest: str) -> Acceptance | None:
    """Return why an entry stands for a pinned digest, None where nobody said so."""
    if pinned is None:
        return None
    try:
        document = json.loads((store / "accepted" / f"{pinned}__{digest}.json").read_text("utf-8"))
    except FileNotFoundError:
        return None
    return Acceptance(pinned=pinned, digest=digest, because=str(document["because"]), exact=document["exact"] is True)


def forget_acceptances(store: Path, digest: str) -> None:
    """Forget everything that an entry stood for."""
    for path in (store / "accepted").glob(f"*__{digest}.json"):
        path.unlink(missing_ok=True)
