"""An archive seen through revisions: its documents and tensors as other code expects them; nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mpt_format import Archive
from policy_interface.migrations import InvalidMigrationError, Rename, Revision
from torch import Tensor, nn

from app_loader.errors import LOAD_TRAINED, MigrationError
from app_loader.revisions.lazy import LazyTensor
from app_loader.revisions.route import Route
from app_loader.revisions.tensors import TensorState, apply_tensor_ops
from app_loader.revisions.wrapper import find_unwrapping, find_wrapper


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrated:
    """What an archive is after a route.

    Attributes:
        route: the revisions that were followed.
        architecture: the architecture document.
        rules: the rules document, None when the archive has none.
        tensors: state-dict key to lazy tensor; tied keys have one and the same.
        sources: state-dict key to the archive's keys that it was made of.
        steps: operations and config document of every revision, for the optimizer's slots.
        module_versions: version per module path, of the archive.
        extra_state: key to plain data, as in the archive.
        original: state-dict key to lazy tensor, as in the archive.
        unwrap: the rename that took the whole tree out of a wrapper before the revisions; None without one.
        rewrap: the rename that took it out of a wrapper, or into one, after them.
        behind: the same with the revisions followed behind the archive's wrapper, where they fit both ways; None else.
    """

    route: Route
    architecture: Mapping[str, Any]
    rules: Mapping[str, Any] | None
    tensors: Mapping[str, LazyTensor]
    sources: Mapping[str, tuple[str, ...]]
    steps: tuple[tuple[tuple[Any, ...], Mapping[str, Any]], ...]
    module_versions: Mapping[str, Mapping[str, Any]]
    extra_state: Mapping[str, Any]
    original: Mapping[str, LazyTensor] = field(default_factory=dict)
    unwrap: Rename | None = None
    rewrap: Rename | None = None
    behind: Callable[[], Migrated] | None = field(default=None, compare=False, repr=False)

    def fitted(self, keys: Collection[str]) -> Migrated:
        """Return the archive without a wrapper around its whole tree, or within one, where the code's keys say so.

        Revisions of templates alone fit the keys in a wrapper and the keys behind it. Followed in it, what an `Add` or
        an exact key brings stands beside the wrapper; then the code's keys say that they were meant behind it.

        Args:
            keys: of the code.
        """
        rename = find_wrapper(self.tensors.keys(), keys)
        if rename is not None:
            return replace(self._renamed(rename), rewrap=rename)
        if self.behind is None or self.tensors.keys() == set(keys):
            return self
        try:
            other = self.behind().fitted(keys)
        except MigrationError:
            return self
        return other if other.tensors.keys() == set(keys) else self

    @property
    def wrappers(self) -> tuple[Rename, ...]:
        """The renames of the whole tree that no revision says."""
        return tuple(rename for rename in (self.unwrap, self.rewrap) if rename is not None)

    def _renamed(self, rename: Rename) -> Migrated:
        """Return the archive with a rename of the whole tree followed."""
        state = TensorState(tensors=dict(self.tensors), sources=dict(self.sources))
        config = self.architecture["config"]
        apply_tensor_ops(state, [rename], config, subject="wrapper")
        old, new = (side.removesuffix("{rest...}") for side in (rename.old, rename.new))
        return replace(
            self,
            tensors=state.tensors,
            sources=state.sources,
            steps=(*self.steps, ((rename,), config)),
            module_versions={_moved(path, old, new): v for path, v in self.module_versions.items()},
            extra_state={f"{new}{key.removeprefix(old)}": value for key, value in self.extra_state.items()},
        )

    def make_state_dict(self) -> dict[str, Any]:
        """Compute the state dict; tied keys give one parameter, so that ``assign=True`` keeps them tied.

        Raises:
            MigrationError: undoing a revision would lose what was learned since.
        """
        users = Counter(id(lazy) for lazy in self.tensors.values())
        made: dict[int, Tensor] = {}
        state = _StateDict()
        for key, lazy in self.tensors.items():
            if id(lazy) not in made:
                value = lazy.compute(key)
                if users[id(lazy)] > 1 and lazy.kind == "parameter":
                    value = nn.Parameter(value, requires_grad=value.is_floating_point() or value.is_complex())
                made[id(lazy)] = value
            state[key] = made[id(lazy)]
        state.update(self.extra_state)
        state._metadata = self.module_versions
        return state


class _StateDict(dict[str, Any]):
    """A state dict with torch's module versions beside it."""

    _metadata: Mapping[str, Mapping[str, Any]]


def follow(archive: Archive, route: Route) -> Migrated:
    """Return the archive at the end of a route. Nothing is computed but shapes.

    Revisions speak of the keys of the code. Where all keys of the archive stand in a wrapper and the revisions do not
    fit them so, they are followed behind the wrapper.

    Raises:
        MigrationError: a revision does not fit the archive; with every problem of that revision.
    """
    begin = _begin(archive)
    unwrap = find_unwrapping(begin.tensors)
    if unwrap is None or not route.revisions:
        return _followed(begin, archive, route)

    def behind() -> Migrated:
        return _followed(replace(begin._renamed(unwrap), unwrap=unwrap), archive, route)

    try:
        as_it_is = _followed(begin, archive, route)
    except MigrationError as error:
        try:
            return behind()
        except MigrationError as other:
            raise (other if len(other.problems) < len(error.problems) else error) from None
    moved = any(made_of != (key,) for key, made_of in as_it_is.sources.items())
    return replace(as_it_is, behind=behind) if moved else behind()


def _begin(archive: Archive) -> Migrated:
    """Return the archive as it is."""
    wrapped: dict[int, LazyTensor] = {}
    kinds = {**{n: r.kind for n, r in archive.tensors.items()}, **{n: r.kind for n, r in archive.aliases.items()}}
    tensors: dict[str, LazyTensor] = {}
    for key, tensor in archive.read_tensors().items():
        tensors[key] = wrapped.setdefault(id(tensor), LazyTensor.of(tensor, kinds.get(key, "parameter")))
    sources = {key: (key,) for key in tensors}
    return Migrated(
        route=Route(revisions=(), backwards=False, head=None),
        architecture=archive.architecture,
        rules=archive.game_rules,
        tensors=tensors,
        sources=sources,
        steps=(),
        module_versions=_module_versions(archive, sources),
        extra_state=archive.extra_state,
        original=tensors,
    )


def _followed(begin: Migrated, archive: Archive, route: Route) -> Migrated:
    state = TensorState(tensors=dict(begin.tensors), sources=dict(begin.sources))
    document, rules, steps = begin.architecture, begin.rules, list(begin.steps)
    for revision in route.revisions:
        ops = _tensor_ops(revision, route.backwards)
        config = document["config"]
        apply_tensor_ops(state, ops, config, subject=f"{archive.path} at {revision.id}")
        steps.append((tuple(ops), config))
        document, rules = _documents(revision, route.backwards, document, rules, str(archive.path))
    return replace(
        begin,
        route=route,
        architecture=document,
        rules=rules,
        tensors=state.tensors,
        sources=state.sources,
        steps=tuple(steps),
        module_versions=_module_versions(archive, state.sources),
    )


def _module_versions(archive: Archive, sources: Mapping[str, tuple[str, ...]]) -> dict[str, Mapping[str, Any]]:
    """Return torch's module versions under the new paths: a module has the version of what its tensors were made of."""
    found: dict[str, Mapping[str, Any]] = {}
    for key, old in sources.items():
        record = archive.manifest.modules.get(old[0].rpartition(".")[0]) if old else None
        if record is not None and record.version is not None:
            found[key.rpartition(".")[0]] = {"version": record.version}
    return found


def _moved(path: str, old: str, new: str) -> str:
    """Return a module's path behind another prefix; the wrapper itself is the root, and the root the wrapper."""
    inner = f"{path}." if path else ""
    return f"{new}{inner.removeprefix(old)}".removesuffix(".")


def _tensor_ops(revision: Revision, backwards: bool) -> tuple[Any, ...]:
    try:
        return revision.inverted_tensors() if backwards else revision.tensors
    except InvalidMigrationError as error:
        raise MigrationError(revision.id, error.problems, LOAD_TRAINED) from error


def _documents(
    revision: Revision,
    backwards: bool,
    document: Mapping[str, Any],
    rules: Mapping[str, Any] | None,
    subject: str,
) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    try:
        for change in revision.inverted_config() if backwards else revision.config:
            document = change.apply(document)
        for op in revision.inverted_rules() if backwards else revision.rules:
            if rules is not None:
                rules = op.apply(rules)
    except InvalidMigrationError as error:
        told = f"{LOAD_TRAINED}; or let {revision.id} say what becomes of such a config"
        raise MigrationError(f"{subject} at {revision.id}", error.problems, told) from error
    return document, rules
