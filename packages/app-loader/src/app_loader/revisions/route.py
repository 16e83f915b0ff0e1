"""Which reviewed revisions lie between an archive and a version of model code, and in which direction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mpt_format import Manifest
from packaging.version import InvalidVersion, Version
from policy_interface.migrations import ChangeKind, InvalidMigrationError, Revision, RevisionGraph

from app_loader.code import Code
from app_loader.errors import LOAD_TRAINED, MigrationError
from app_loader.revisions.history import check_command, read_known_history


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way from an archive to code.

    Attributes:
        revisions: in the order in which they are followed.
        backwards: whether each is undone instead of applied.
        head: the revision that the result follows; None when the code has no history.
    """

    revisions: tuple[Revision, ...]
    backwards: bool
    head: str | None

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids in order."""
        return tuple(revision.id for revision in self.revisions)


def find_route(manifest: Manifest, document: Mapping[str, Any], code: Code, *, subject: str) -> Route:
    """Return the way from an archive's state to the code's.

    Args:
        manifest: the archive's; its ``migration.head`` says what the archive follows, else its code's release does.
        document: the archive's architecture document: revisions of other kinds are passed over.
        code: where to.
        subject: the archive, for errors.

    Raises:
        MigrationError: several heads, a cycle, a missing parent, an unknown revision, an unreviewed draft on the way,
        or
            a revision that no checkpoint of this kind can follow.
    """
    graph = read_known_history(code)
    if not graph.revisions:
        return Route(revisions=(), backwards=False, head=None)
    try:
        here = _followed_by_archive(graph, manifest)
        there = _released_until(graph, code.version)
        backwards = here > there
        missing = here - there if backwards else there - here
        ordered = [r for r in graph.walk([], _last(graph, here | there)) if r.id in missing]
    except InvalidMigrationError as error:
        raise MigrationError(subject, error.problems, check_command(code)) from error
    if backwards:
        ordered.reverse()
    concerned = tuple(_of_kind(ordered, str(document.get("kind")), backwards))
    _check_followable(concerned, subject, check_command(code))
    heads = [name for name in there if not any(name in graph.revisions[other].parents for other in there)]
    return Route(revisions=concerned, backwards=backwards, head=heads[0] if heads else None)


def find_head(code: Code) -> str | None:
    """Return the revision that policies of this code follow, to be remembered when one is saved.

    Raises:
        MigrationError: the code's revisions contradict each other.
    """
    from app_loader.revisions.history import read_history

    try:
        return read_history(code).get_head()
    except InvalidMigrationError as error:
        raise MigrationError(f"{code.distribution} {code.version}", error.problems, check_command(code)) from error


def _followed_by_archive(graph: RevisionGraph, manifest: Manifest) -> frozenset[str]:
    remembered = manifest.migration.get("head")
    if remembered:
        names = [remembered] if isinstance(remembered, str) else [str(name) for name in remembered]  # type: ignore[union-attr]
        known = [graph.resolve_id(name) for name in names]
        if None in known:
            problem = f"the archive follows {', '.join(names)}, which this code does not know: newer code wrote it"
            raise InvalidMigrationError("the revisions", [problem])
        return graph.ancestors(name for name in known if name)
    version = manifest.code.version if manifest.code else "0"
    return _released_until(graph, version)


def _released_until(graph: RevisionGraph, version: str) -> frozenset[str]:
    limit = parse_version(version)
    return frozenset(name for name, revision in graph.revisions.items() if parse_version(revision.since) <= limit)


def _last(graph: RevisionGraph, wanted: frozenset[str]) -> str:
    head = graph.get_head()
    assert head is not None and wanted <= graph.revisions.keys()
    return head


def _of_kind(revisions: list[Revision], kind: str, backwards: bool) -> list[Revision]:
    concerned = []
    for revision in revisions:
        if kind not in revision.kinds:
            continue
        concerned.append(revision)
        for op in revision.config:
            if isinstance(op, ChangeKind):
                kind = op.old if backwards else op.new
    return concerned


def _check_followable(revisions: tuple[Revision, ...], subject: str, check: str) -> None:
    problems = []
    next_command = LOAD_TRAINED
    for revision in revisions:
        if not revision.reviewed:
            questions = f" with {len(revision.open_questions)} open question(s)" if revision.open_questions else ""
            problems.append(f"{revision.id} is a draft that no person has reviewed{questions}")
            next_command = f"{check}   # says what is left to finish before it is set to reviewed=True"
        elif revision.blocked:
            problems.append(f"{revision.id} ({revision.since}) cannot be followed: {revision.blocked}")
    if problems:
        raise MigrationError(subject, problems, next_command)


def parse_version(version: str) -> Version:
    """Return a version to be compared; one that is none comes before all others."""
    try:
        return Version(version)
    except InvalidVersion:
        return Version("0")
