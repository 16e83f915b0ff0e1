"""An archive seen through revisions: its documents and tensors as other code expects them; nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mpt_format import Archive
from policy_interface.migrations import InvalidMigrationError, Revision
from torch import Tensor, nn

from app_loader.errors import MigrationError
from app_loader.revisions.lazy import LazyTensor
from app_loader.revisions.route import Route
from app_loader.revisions.tensors import TensorState, apply_tensor_ops
from app_loader.revisions.wrapper import find_wrapper


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
    """

    route: Route
    architecture: Mapping[str, Any]
    rules: Mapping[str, Any] | None
    tensors: Mapping[str, LazyTensor]
    sources: Mapping[str, tuple[str, ...]]
    steps: tuple[tuple[tuple[Any, ...], Mapping[str, Any]], ...]
    module_versions: Mapping[str, Mapping[str, Any]]
    extra_state: Mapping[str, Any]

    def fitted(self, keys: Collection[str]) -> Migrated:
        """Return the archive without a wrapper around its whole tree, or within one, where the code's keys say so.

        Args:
            keys: of the code.
        """
        rename = find_wrapper(self.tensors.keys(), keys)
        if rename is None:
            return self
        state = TensorState(tensors=dict(self.tensors), sources=dict(self.sources))
        config = self.architecture["config"]
        apply_tensor_ops(state, [rename], config, subject="wrapper")
        old, new = (side.removesuffix("{rest...}") for side in (rename.old, rename.new))
        return replace(
            self,
            tensors=state.tensors,
            sources=state.sources,
            steps=(*self.steps, ((rename,), config)),
            module_versions={f"{new}{path.removeprefix(old)}": v for path, v in self.module_versions.items()},
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
                try:
                    value = lazy.make()
                except RuntimeError as error:
                    raise MigrationError(key, [str(error)], "mpt diagnose ARCHIVE") from error
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

    Raises:
        MigrationError: a revision does not fit the archive; with every problem of that revision.
    """
    original = archive.read_tensors()
    wrapped: dict[int, LazyTensor] = {}
    kinds = {**{n: r.kind for n, r in archive.tensors.items()}, **{n: r.kind for n, r in archive.aliases.items()}}
    for key, tensor in original.items():
        wrapped.setdefault(id(tensor), LazyTensor.of(tensor, kinds.get(key, "parameter")))
    state = TensorState.of({key: wrapped[id(tensor)] for key, tensor in original.items()})
    document: Mapping[str, Any] = archive.architecture
    rules: Mapping[str, Any] | None = archive.game_rules
    steps = []
    for revision in route.revisions:
        ops = _tensor_ops(revision, route.backwards)
        config = document["config"]
        apply_tensor_ops(state, ops, config, subject=f"{archive.path} at {revision.id}")
        steps.append((tuple(ops), config))
        document, rules = _documents(revision, route.backwards, document, rules, str(archive.path))
    return Migrated(
        route=route,
        architecture=document,
        rules=rules,
        tensors=state.tensors,
        sources=state.sources,
        steps=tuple(steps),
        module_versions=_module_versions(archive, state.sources),
        extra_state=archive.extra_state,
    )


def _module_versions(archive: Archive, sources: Mapping[str, tuple[str, ...]]) -> dict[str, Mapping[str, Any]]:
    """Return torch's module versions under the new paths: a module has the version of what its tensors were made of."""
    found: dict[str, Mapping[str, Any]] = {}
    for key, old in sources.items():
        record = archive.manifest.modules.get(old[0].rpartition(".")[0]) if old else None
        if record is not None and record.version is not None:
            found[key.rpartition(".")[0]] = {"version": record.version}
    return found


def _tensor_ops(revision: Revision, backwards: bool) -> tuple[Any, ...]:
    try:
        return revision.inverted_tensors() if backwards else revision.tensors
    except InvalidMigrationError as error:
        raise MigrationError(revision.id, error.problems, "mpt migrate check") from error


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
        raise MigrationError(f"{subject} at {revision.id}", error.problems, "mpt diagnose ARCHIVE") from error
    return document, rules
