"""Open matches that what is certain around them settles: the source's own renames, and the rest of a settled module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from app_loader.matching import Match, TensorInfo
from app_loader.migration.draft.source_renames import AttributeRename
from app_loader.migration.draft.trial import flat


def follow_source(
    matches: Sequence[Match], old: Sequence[TensorInfo], new: Sequence[TensorInfo], renames: Sequence[AttributeRename]
) -> list[Match]:
    """Settle an open match where the source shows the rename, token for token, and only one old key fits."""
    shapes = {t.key: (t.shape, t.kind) for t in old}
    wanted = {t.key: (t.shape, t.kind) for t in new}
    used = {key for match in matches if match.confidence == "auto" for key in flat(match.old)}
    names = {rename.old: rename for rename in renames}
    followed = []
    for match in matches:
        if match.confidence == "auto":
            followed.append(match)
            continue
        fitting = []
        for key in shapes:
            tokens = key.split(".")
            moved = ".".join(names[token].new if token in names else token for token in tokens)
            if key not in used and moved == match.new != key and shapes[key] == wanted[match.new]:
                fitting.append((key, next(names[token] for token in tokens if token in names)))
        if len(fitting) == 1:
            key, rename = fitting[0]
            said = f"the source of {rename.owner} renames {rename.old} to {rename.new} and assigns the same to it"
            followed.append(replace(match, old=key, confidence="auto", op="copy", evidence=(said,)))
        else:
            followed.append(match)
    return followed


def follow_modules(matches: Sequence[Match], old: Sequence[TensorInfo], new: Sequence[TensorInfo]) -> list[Match]:
    """Follow the modules of which the rest is settled: what counts steps, say, and reaches no output, goes along."""
    used = {key for match in matches if match.confidence == "auto" for key in flat(match.old)}
    homes: dict[str, set[str]] = {}
    for match in matches:
        if match.confidence == "auto":
            homes.setdefault(match.new.rpartition(".")[0], set()).update(k.rpartition(".")[0] for k in flat(match.old))
    before, after = {t.key: t for t in old}, {t.key: t for t in new}
    followed = []
    for match in matches:
        path, _, leaf = match.new.rpartition(".")
        home = homes.get(path, set())
        key = f"{next(iter(home))}.{leaf}" if len(home) == 1 else ""
        info, wanted = before.get(key), after[match.new]
        fits = info is not None and (info.shape, info.kind, info.dtype) == (wanted.shape, wanted.kind, wanted.dtype)
        if match.confidence != "auto" and fits and wanted.kind == "buffer" and key not in used:
            said = ("everything else of its module comes from there",)
            match = replace(match, old=key, confidence="auto", op="copy", evidence=said)
        followed.append(match)
    return followed
