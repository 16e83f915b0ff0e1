"""Draft the revision that an archive needs: signatures, configs, sources, and trial against the witness."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mpt_format import Archive, open_archive
from policy_interface.migrations import Choose, Drop, TensorOp

from app_loader.code import Code
from app_loader.commands import completed
from app_loader.matching import Match, match_tensors
from app_loader.migration.draft.attempts import Attempt, attempt, meets_witness, with_attempt
from app_loader.migration.draft.config_lines import config_lines
from app_loader.migration.draft.neighbours import follow_modules, follow_source
from app_loader.migration.draft.operations import certain_operations, open_operations
from app_loader.migration.draft.sides import read_sides
from app_loader.migration.draft.source_renames import AttributeRename, find_renames, read_sources
from app_loader.migration.draft.text import format_revision
from app_loader.revisions.route import parse_version
from app_loader.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A drafted revision.

    Attributes:
        text: the Python file.
        tensors: its operations on tensors.
        open_questions: how many a person has to answer, about the config, about tensors, and about parameters that
            nothing takes.
        summary: one line about it.
        matches: what was known of every new tensor at the end.
        trial: what was tried, what was not and why: one sentence each; empty when nothing was open.
        code: the code that it leads to; None where that is not known.
        changes: whether anything has to change between the archive and the code.
    """

    text: str
    tensors: tuple[TensorOp, ...]
    open_questions: int
    summary: str
    matches: tuple[Match, ...]
    trial: tuple[str, ...] = ()
    code: Code | None = None
    changes: bool = True


def draft_revision(path: str | Path, *, code: str = "current", store: Store, trial: bool = True) -> Draft:
    """Draft the revision from an archive to code.

    Reviewed revisions that lie on the way are followed first; the draft says what is left.

    Args:
        path: the archive.
        code: ``current`` or a version.
        store: the store of wheels.
        trial: whether to settle open questions by running the new code against the witness.

    Raises:
        MigrationError: the history of the code is broken, or a revision on the way is a draft or cannot be followed.
        LoaderError: the code is not at hand, or nothing can be built from the archive's config.
    """
    from app_loader.load import check_resolution, resolve_archive

    with open_archive(path) as archive, completed(path, store=store, code=code):
        chosen = check_resolution(archive, resolve_archive(archive, code, store))
        sides = read_sides(archive, chosen)
        old, new = sides.old, sides.new
        matches = match_tensors(list(old), list(new), tied_old=sides.tied[0], tied_new=sides.tied[1])
        renames = _source_renames(archive, chosen, store)
        matches = follow_source(matches, old, new, renames)
        found = Attempt(settled=None, said=())
        if trial and any(match.confidence != "auto" for match in matches):
            found = attempt(sides, matches, store)
            matches = follow_modules(with_attempt(matches, found), old, new)
        ops = (*certain_operations(matches, old, new), *open_operations(matches, old, new, found.settled))
        met = meets_witness(sides, matches) if trial else None
        lines = config_lines(sides.config)
        route = sides.migrated.route
        same = _same_release(archive, chosen)
        text = format_revision(
            kind=str(sides.migrated.architecture["kind"]),
            version=chosen.version,
            parent=route.head,
            written_by=archive.manifest.code.version if archive.manifest.code else "?",
            config=sides.config,
            tensors=ops,
            renames=renames,
            tried=found.settled,
            met=met,
            shapes={tensor.key: tensor.shape for tensor in new},
            notes=[*_followed(route.ids), *same, *(f"Assumed: {said}" for said in sides.assumptions), *found.said],
        )
    lost = sum(isinstance(op, Drop) and not op.recomputed for op in ops)  # a person has to say why nothing is
    questions = sum(isinstance(op, Choose) for op in ops) + lost + sum(line.is_question for line in lines)
    said = f"{len(lines)} operation(s) on the config, {len(ops)} operation(s) on tensors, {questions} open question(s)"
    changes = bool(lines or ops) or met is False
    if not changes:
        said += "; nothing has to change between the archive and this code"
    else:
        said += "".join(f"; {sentence}" for sentence in same)
    if met is False:
        said += "; the witness is NOT met, so something changed that no key and no shape shows"
        said += f" (or what was assumed is wrong: {'; '.join(sides.assumptions)})" if sides.assumptions else ""
    if found.settled is None and questions:
        said += "".join(f"; {sentence}" for sentence in found.said)
    return Draft(
        text=text,
        tensors=ops,
        open_questions=questions,
        summary=said,
        matches=tuple(matches),
        trial=found.said,
        code=chosen,
        changes=changes,
    )


def _same_release(archive: Archive, code: Code) -> list[str]:
    """Say that a revision of the release that wrote the archive would never be followed."""
    record = archive.manifest.code
    if record is None or archive.manifest.migration.get("head"):  # it remembers by name what it follows
        return []
    if parse_version(record.version) < parse_version(code.version):
        return []
    return [
        f"{record.distribution} {record.version} wrote the archive and this code calls itself {code.version}: raise "
        "its version and draft again, for an archive is taken to follow every revision up to the release that wrote it"
    ]


def _followed(ids: tuple[str, ...]) -> list[str]:
    return [f"Begins where the reviewed revisions {', '.join(ids)} end"] if ids else []


def _source_renames(archive: Archive, code: Code, store: Store) -> list[AttributeRename]:
    from app_loader.load import resolve_archive

    record = archive.manifest.code
    chosen = resolve_archive(archive, "trained", store).chosen
    if record is None or record.package is None or chosen is None or chosen.code is None:
        return []
    return find_renames(read_sources(chosen.code, record.package), read_sources(code, record.package))
