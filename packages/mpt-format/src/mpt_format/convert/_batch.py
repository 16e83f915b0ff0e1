"""Many checkpoints, one after another: what is done is passed over, what fails is told and does not stop the rest.

A folder that takes no output any more, as on a full disk, does stop it: every further file would fail alike.

An output says in its account which file it was made from, by digest: a batch that was broken off goes on where it
stopped, and an output that was made from another file is never written over.
"""

from __future__ import annotations

__all__ = ["STATUSES", "BatchItem", "convert_many", "group_failures"]

import errno
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpt_format.errors import ConversionError, MptError, escape_text
from mpt_format.opening import open_archive

from ._convert import Conversion
from ._losses import Loss
from ._safetensors_file import read_account

STATUSES = ("converted", "done before", "no checkpoint", "failed")
"""What may become of a file."""

_TAKES_NO_MORE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Errors that are the output folder's, whatever the file: no room, no quota, read only."""

Convert = Callable[[Path, Path], Conversion]
"""Convert a source into a target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItem:
    """What became of one file of a batch.

    Attributes:
        source: Its path.
        target: Where its conversion is, or would be.
        status: One of `STATUSES`.
        conversion: What was written; None where nothing was.
        error: Why nothing was written; empty where something was, or is there already.
        losses: What the output says differently, or not at all; of one that is there already, as it says itself.
        stops: Whether the folder takes no further output, so that this was the last file tried.
    """

    source: Path
    target: Path
    status: str
    conversion: Conversion | None = None
    error: str = ""
    losses: tuple[Loss, ...] = ()
    stops: bool = False

    def to_json(self) -> dict[str, Any]:
        """The item as JSON values; the conversion without its lists of tensors, which the output holds itself."""
        document: dict[str, Any] = {"source": str(self.source), "target": str(self.target), "status": self.status}
        if self.error:
            document["error"] = self.error
        if self.conversion is not None:
            told = self.conversion.to_json()
            del told["tensors"], told["digests"]
            document["conversion"] = {**told, "tensors": len(self.conversion.tensors)}
        return document


def convert_many(
    files: Iterable[tuple[str, str]], folder: Path, *, suffix: str, convert: Convert
) -> Iterator[BatchItem]:
    """Convert files into a folder, yielding each as it is finished.

    Args:
        files: Each file with its place: a relative path that it keeps below the folder.
        folder: Where the outputs go, each under the file's whole name and a suffix: `a/old.pt` gives `a/old.pt.mpt`.
        suffix: `.mpt` or `.safetensors`.
        convert: What converts one.

    Raises:
        OSError: The folder cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file, place in files:
        source, target = Path(file), folder / (place + suffix)
        try:
            account = _find_account(source, target)
            if account is not None:
                losses = _read_losses(account)
                yield BatchItem(source=source, target=target, status="done before", losses=losses)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            done = convert(source, target)
            yield BatchItem(source=source, target=target, status="converted", conversion=done, losses=done.losses)
        except ConversionError as error:
            status = "no checkpoint" if error.verdict == "notckpt" else "failed"
            yield BatchItem(source=source, target=target, status=status, error=str(error))
        except (MptError, OSError) as error:
            stops = getattr(error, "errno", None) in _TAKES_NO_MORE
            yield BatchItem(source=source, target=target, status="failed", error=str(error), stops=stops)
            if stops:
                return


def group_failures(items: Iterable[BatchItem]) -> list[tuple[str, list[Path]]]:
    """Each reason with the files that failed for it, most files first; where it is one of several it reads FILE."""
    groups: dict[str, list[BatchItem]] = {}
    for item in items:
        if item.status == "failed":
            reason = _without(_without(item.error, item.target, "OUTPUT"), item.source, "FILE")
            groups.setdefault(reason, []).append(item)
    ranked = sorted(groups.items(), key=lambda group: -len(group[1]))
    return [(reason if len(alike) > 1 else alike[0].error, [item.source for item in alike]) for reason, alike in ranked]


def _without(reason: str, path: Path, word: str) -> str:
    """A reason with a word instead of a path; a bare name may be a word of the reason itself and stays."""
    if len(path.parts) == 1:
        return reason
    return reason.replace(str(path), word).replace(escape_text(str(path)), word)


def _find_account(source: Path, target: Path) -> Mapping[str, Any] | None:
    """What a target that was made from the source says of the conversion; None where there is no target.

    Raises:
        ConversionError: It is there and was made from something else.
    """
    if not target.exists():
        return None
    account = _read_account(target)
    origin = account.get("source")
    made_from = origin if isinstance(origin, dict) else {}
    if made_from.get("size_bytes") == source.stat().st_size:
        with source.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == made_from.get("sha256"):
                return account
    raise ConversionError(f"{target} is there already and was not made from {source}: choose another folder")


def _read_account(target: Path) -> Mapping[str, Any]:
    """What a target says of the conversion that made it; nothing where it does not say so."""
    if target.suffix == ".safetensors":
        account: Any = read_account(target)
    else:
        with open_archive(target) as archive:
            account = (archive.manifest.lineage or {}).get("conversion")
    return account if isinstance(account, dict) else {}


def _read_losses(account: Mapping[str, Any]) -> tuple[Loss, ...]:
    told = account.get("losses")
    return tuple(
        Loss(path=str(loss.get("path")), was=str(loss.get("was")), became=str(loss.get("became")))
        for loss in (told if isinstance(told, list) else ())
        if isinstance(loss, dict)
    )
