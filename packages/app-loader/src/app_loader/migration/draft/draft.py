"""Draft the revision that an archive needs: signatures, configs, sources, and trial against the witness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from mpt_format import Archive, open_archive
from policy_interface import GameRules, PolicyArchitecture
from policy_interface.migrations import (
    Add,
    Cat,
    Choose,
    Drop,
    Rename,
    Reshape,
    Split,
    Stack,
    TensorOp,
    Transpose,
)
from torch import Tensor

from app_loader.build import build_on_meta
from app_loader.code import Code
from app_loader.diagnosis.config_stage import assumed_document, judge_config
from app_loader.errors import LoaderError, MigrationError
from app_loader.matching import Match, TensorInfo, match_tensors
from app_loader.migration.draft.compress import compress_renames
from app_loader.migration.draft.settle_both import settle_with_both
from app_loader.migration.draft.source_renames import AttributeRename, find_renames, read_sources
from app_loader.migration.draft.text import format_revision
from app_loader.migration.draft.trial import LIMIT, MADE_BYTES, Settled, flat, meets, open_sides, settle, tries_for
from app_loader.revisions.history import read_history
from app_loader.revisions.lazy import LazyTensor
from app_loader.revisions.signatures import module_signature, read_archive_signature
from app_loader.revisions.tensors import TensorState, apply_tensor_ops
from app_loader.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A drafted revision.

    Attributes:
        text: the Python file.
        tensors: its operations on tensors.
        open_questions: how many a person has to answer.
        summary: one line about it.
        matches: what was known of every new tensor at the end.
    """

    text: str
    tensors: tuple[TensorOp, ...]
    open_questions: int
    summary: str
    matches: tuple[Match, ...]


def draft_revision(path: str | Path, *, code: str = "current", store: Store, trial: bool = True) -> Draft:
    """Draft the revision from an archive to code.

    Args:
        path: the archive.
        code: ``current`` or a version.
        store: the store of wheels.
        trial: whether to settle open questions by running the new code against the witness.

    Raises:
        LoaderError: the code is not at hand, or nothing can be built from the archive's config.
    """
    from app_loader.load import check_resolution, resolve_archive

    with open_archive(path) as archive:
        chosen = check_resolution(archive, resolve_archive(archive, code, store))
        document = archive.architecture
        cls = chosen.architecture_class(str(document["kind"]))
        architecture = cls.from_document(assumed_document(document, cls))
        rules = GameRules.from_document(archive.game_rules)
        subject = f"{architecture.kind} of {chosen.distribution} {chosen.version}"
        module = build_on_meta(architecture, rules, subject=subject).module
        if module is None:
            raise MigrationError(str(path), [f"{subject} has no module"])
        old, tied_old = read_archive_signature(archive)
        new, tied_new = module_signature(module)
        matches = match_tensors(old, new, tied_old=tied_old, tied_new=tied_new)
        renames = _source_renames(archive, chosen, store)
        matches = _follow_source(matches, old, new, renames)
        settled = None
        if trial and any(match.confidence != "auto" for match in matches):
            settled = _try_both(archive, architecture, rules, matches, old, new, store)
            if settled is None:
                settled = _try(archive, architecture, rules, matches, old, new)
            matches = _with_rest_of_modules(_with_trial(matches, settled), old, new)
        ops = tuple(_operations(matches, old, new, settled))
        met = _meets_witness(archive, architecture, rules, matches, old, new) if trial else None
        record = archive.manifest.architecture
        config = list(judge_config(document, cls, record.config_sources if record else {}))
        text = format_revision(
            kind=str(document["kind"]),
            version=chosen.version,
            parent=_parent(chosen),
            written_by=archive.manifest.code.version if archive.manifest.code else "?",
            config=config,
            tensors=ops,
            renames=renames,
            tried=settled,
            met=met,
        )
    questions = sum(isinstance(op, Choose) for op in ops)
    said = f"{len(ops)} operation(s) on tensors, {questions} open question(s)"
    if met is False:
        said += "; the witness is NOT met, so something changed that no key and no shape shows"
    return Draft(text=text, tensors=ops, open_questions=questions, summary=said, matches=tuple(matches))


def _parent(code: Code) -> str | None:
    try:
        return read_history(code).get_head()
    except (LoaderError, ValueError):
        return None


def _source_renames(archive: Archive, code: Code, store: Store) -> list[AttributeRename]:
    from app_loader.load import resolve_archive

    record = archive.manifest.code
    chosen = resolve_archive(archive, "trained", store).chosen
    if record is None or record.package is None or chosen is None or chosen.code is None:
        return []
    return find_renames(read_sources(chosen.code, record.package), read_sources(code, record.package))


def _follow_source(
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


def _try(
    archive: Archive,
    architecture: PolicyArchitecture,
    rules: GameRules,
    matches: Sequence[Match],
    old: Sequence[TensorInfo],
    new: Sequence[TensorInfo],
) -> Settled | None:
    from app_loader.load import read_witness

    witness = read_witness(archive)
    if witness is None:
        return None
    tensors = archive.read_tensors()
    certain = _certain_tensors([m for m in matches if m.confidence == "auto"], old, new, tensors)
    open_new, open_old = open_sides(matches, old, new)
    return settle(architecture, rules, witness, certain, tensors, open_new, open_old)


def _try_both(
    archive: Archive,
    architecture: PolicyArchitecture,
    rules: GameRules,
    matches: Sequence[Match],
    old: Sequence[TensorInfo],
    new: Sequence[TensorInfo],
    store: Store,
) -> Settled | None:
    """Settle with the old code beside the new one; None where it is not at hand, or the policy is a large one."""
    from app_loader.load import load_with, read_witness, resolve_archive

    tensors = archive.read_tensors()
    if sum(tensor.nbytes for tensor in tensors.values()) > MADE_BYTES:
        return None
    try:
        trained = load_with(archive, resolve_archive(archive, "trained", store)).unwrap()
    except LoaderError:
        return None
    witness = read_witness(archive)
    open_new, open_old = open_sides(matches, old, new)
    torch.manual_seed(0)
    return settle_with_both(
        trained,
        architecture.make_policy(rules),
        weights=tensors,
        certain=lambda weights: _certain_tensors(matches, old, new, weights),
        open_new=open_new,
        open_old=open_old,
        buffers=frozenset(info.key for info in old if info.kind == "buffer"),
        recorded=witness,
        tries=LIMIT if witness is None else tries_for(tensors, witness),
    )


def _meets_witness(
    archive: Archive,
    architecture: PolicyArchitecture,
    rules: GameRules,
    matches: Sequence[Match],
    old: Sequence[TensorInfo],
    new: Sequence[TensorInfo],
) -> bool | None:
    """Return whether the drafted tensors do what was recorded; None when some are open or nothing was recorded."""
    from app_loader.load import read_witness

    witness = read_witness(archive)
    if witness is None or any(match.confidence != "auto" for match in matches):
        return None
    tensors = _certain_tensors(matches, old, new, archive.read_tensors())
    return meets(architecture, rules, witness, tensors)


def _certain_tensors(
    matches: Sequence[Match], old: Sequence[TensorInfo], new: Sequence[TensorInfo], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    state = TensorState.of({key: LazyTensor.of(value) for key, value in tensors.items()})
    apply_tensor_ops(state, list(_operations(matches, old, new, None, complete=False)), {}, subject="trial")
    wanted = {match.new for match in matches if match.confidence == "auto"}  # an equal key may mean another tensor
    return {key: lazy.make() for key, lazy in state.tensors.items() if key in wanted}


def _with_trial(matches: Sequence[Match], settled: Settled | None) -> list[Match]:
    if settled is None:
        return list(matches)
    said = f"tried against the witness ({settled.tried} assignments): exchanged or left out, it is not met"
    found = {new: Match(new=new, old=old, confidence="auto", evidence=(said,)) for new, old in settled.sources.items()}
    found.update(settled.matches)
    return [found.get(match.new, match) for match in matches]


def _with_rest_of_modules(
    matches: Sequence[Match], old: Sequence[TensorInfo], new: Sequence[TensorInfo]
) -> list[Match]:
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


def _operations(
    matches: Sequence[Match],
    old: Sequence[TensorInfo],
    new: Sequence[TensorInfo],
    settled: Settled | None,
    *,
    complete: bool = True,
) -> list[TensorOp]:
    """Return the operations that the certain matches need, then an open question for each of the rest."""
    by_new = {t.key: t for t in new}
    by_old = {t.key: t for t in old}
    ops: list[TensorOp] = []
    renamed: dict[str, str] = {}
    slices: dict[str, list[Match]] = {}
    after: list[TensorOp] = []
    for match in matches:
        if match.confidence != "auto" or match.old is None:
            continue
        source = match.old
        if match.op == "slice":
            slices.setdefault(str(source), []).append(match)
        elif match.op == "cat":
            parts = flat(source)
            sizes = tuple(by_old[key].shape[match.dim or 0] for key in parts)
            equal = len(set(sizes)) == 1
            after.append(Cat(parts=parts, whole=match.new, dim=match.dim or 0, sizes=() if equal else sizes))
        elif match.op == "stack":
            after.append(Stack(parts=flat(source), whole=match.new, dim=match.dim or 0))
        elif match.op == "stack(cat0)":
            rows = [flat(row) for row in source]
            inner = [f"{match.new}.{i}" for i in range(len(rows))]
            after += [Cat(parts=row, whole=name) for row, name in zip(rows, inner, strict=True)]
            after.append(Stack(parts=tuple(inner), whole=match.new))
        elif isinstance(source, str):
            if source != match.new:
                renamed[source] = match.new
            if match.op == "transpose":
                after.append(Transpose(key=match.new))
            elif match.op == "reshape":
                after.append(Reshape(key=match.new, old=by_old[source].shape, new=by_new[match.new].shape))
    for whole, cut in slices.items():
        cut.sort(key=lambda m: m.start or 0)
        dim = cut[0].dim or 0
        lengths = tuple(by_new[m.new].shape[dim] for m in cut)
        same = len(set(lengths)) == 1
        ops.append(Split(whole=whole, parts=tuple(m.new for m in cut), dim=dim, sizes=() if same else lengths))
    ops += _renames(renamed, old, new)
    ops += after
    if complete:
        ops += _rest(matches, old, new, settled)
    return ops


def _renames(renamed: dict[str, str], old: Sequence[TensorInfo], new: Sequence[TensorInfo]) -> list[TensorOp]:
    old_keys = [t.key for t in old]
    clash = {target for target in renamed.values() if target in renamed}
    if not clash:
        return list(compress_renames(renamed, old_keys, [t.key for t in new]))
    # Keys that trade places go through names of their own, so that no step overwrites what the next one needs.
    first = [Rename(old=key, new=f"moving.{target}") for key, target in renamed.items()]
    second = [Rename(old=f"moving.{target}", new=target) for target in renamed.values()]
    return [*first, *second]


def _rest(
    matches: Sequence[Match], old: Sequence[TensorInfo], new: Sequence[TensorInfo], settled: Settled | None
) -> list[TensorOp]:
    open_new, open_old = open_sides(matches, old, new)
    by_new = {match.new: match for match in matches}
    ops: list[TensorOp] = []
    asked: set[str] = set()
    for tensor in open_new:
        match = by_new[tensor.key]
        if settled is not None and tensor.key in settled.fresh:
            ops.append(
                Add(
                    key=tensor.key,
                    shape=tensor.shape,
                    init=settled.fresh[tensor.key],
                    reason="nothing in the archive gives it, and with this beginning the witness is met",
                    kind="buffer" if tensor.kind == "buffer" else "parameter",
                )
            )
            continue
        candidates = tuple(dict.fromkeys((*flat(match.old), *match.candidates)))
        asked.update(candidates)
        ops.append(Choose(key=tensor.key, candidates=candidates, evidence=match.evidence))
    for tensor in open_old:
        if tensor.key not in asked:
            reason = "nothing in the code takes it: say why nothing is lost"
            ops.append(Drop(key=tensor.key, reason=reason, recomputed=tensor.kind == "buffer"))
    return ops
