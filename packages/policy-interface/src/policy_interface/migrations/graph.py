"""The history of model code: revisions and their parents as a directed graph without cycles, with one head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from policy_interface.migrations.errors import InvalidMigrationError
from policy_interface.migrations.revision import Revision


@dataclass(frozen=True, slots=True)
class RevisionGraph:
    """All revisions of one distribution.

    Attributes:
        revisions: by id.
    """

    revisions: Mapping[str, Revision]

    @classmethod
    def of(cls, revisions: Iterable[Revision]) -> RevisionGraph:
        """Return the graph of these revisions.

        Raises:
            InvalidMigrationError: ids stand twice, parents are missing, or there is a cycle; with every problem.
        """
        listed = list(revisions)
        graph = cls({revision.id: revision for revision in listed})
        problems = list(graph._problems(listed))
        if problems:
            raise InvalidMigrationError("the revisions", problems)
        return graph

    @property
    def heads(self) -> tuple[str, ...]:
        """Ids of the revisions that are no one's parent, sorted."""
        parents = {parent for revision in self.revisions.values() for parent in self._parents(revision)}
        return tuple(sorted(self.revisions.keys() - parents))

    def get_head(self) -> str | None:
        """Return the one head, None for an empty graph.

        Raises:
            InvalidMigrationError: there are several, with their names.
        """
        heads = self.heads
        if len(heads) > 1:
            problem = f"several heads: {', '.join(heads)}; write a revision whose parents they are"
            raise InvalidMigrationError("the revisions", [problem])
        return heads[0] if heads else None

    def resolve_id(self, name: str) -> str | None:
        """Return the id that a remembered name stands for today: itself, or the squash that replaces it."""
        if name in self.revisions:
            return name
        return next((r.id for r in self.revisions.values() if name in r.replaces), None)

    def ancestors(self, names: Iterable[str]) -> frozenset[str]:
        """Return the given ids and everything before them."""
        found: set[str] = set()
        open_ids = list(names)
        while open_ids:
            name = open_ids.pop()
            if name not in found:
                found.add(name)
                open_ids += self._parents(self.revisions[name])
        return frozenset(found)

    def walk(self, done: Iterable[str], target: str) -> tuple[Revision, ...]:
        """Return the revisions from a state to a target, parents first.

        Args:
            done: ids that the archive already follows; with them, everything before them.
            target: id of the last revision wanted.

        Raises:
            InvalidMigrationError: an id is unknown.
        """
        unknown = [name for name in (*done, target) if self.resolve_id(name) is None]
        if unknown:
            known = ", ".join(sorted(self.revisions)) or "none"
            problem = f"unknown to this code: {', '.join(unknown)}; known are {known}. Newer code wrote the archive."
            raise InvalidMigrationError("the revisions", [problem])
        behind = self.ancestors(self.resolve_id(name) or name for name in done)
        wanted = self.ancestors([self.resolve_id(target) or target]) - behind
        return tuple(revision for revision in self._ordered() if revision.id in wanted)

    def _parents(self, revision: Revision) -> tuple[str, ...]:
        resolved = (self.resolve_id(parent) or parent for parent in revision.parents)
        return tuple(parent for parent in resolved if parent != revision.id)

    def _ordered(self) -> Iterator[Revision]:
        left = dict(sorted(self.revisions.items()))
        done: set[str] = set()
        while left:
            ready = [name for name, revision in left.items() if done.issuperset(self._parents(revision))]
            if not ready:
                return
            for name in ready:
                yield left.pop(name)
                done.add(name)

    def _problems(self, listed: list[Revision]) -> Iterator[str]:
        ids = [revision.id for revision in listed]
        for name in sorted({name for name in ids if ids.count(name) > 1}):
            yield f"the id {name} stands twice"
        missing = False
        for revision in self.revisions.values():
            for parent in self._parents(revision):
                if parent not in self.revisions:
                    missing = True
                    yield f"{revision.id} has the parent {parent}, which is not there"
        if not missing and len(ordered := list(self._ordered())) < len(self.revisions):
            left = sorted(self.revisions.keys() - {revision.id for revision in ordered})
            yield f"a cycle: {', '.join(left)} wait for each other"
