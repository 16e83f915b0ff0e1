"""The zoos that application code might know: found by their entry points, installed or stored, or named by the caller.

A zoo is a convention and not one package: whatever declares kinds in the group ``policy_interface.architectures`` is
one. Nothing of a zoo is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata

from app_loader.store import Store

GROUP = "policy_interface.architectures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Zoo:
    """What is known of a zoo without importing it.

    Attributes:
        modules: the modules and packages that hold its code, dotted names; what is below one belongs to it.
        kinds: the kinds that it declares.
        classes: the names of the classes that its kinds map to.
    """

    modules: frozenset[str]
    kinds: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()

    def owns(self, name: str) -> bool:
        """Whether a dotted name is one of the zoo's or below it."""
        parts = name.split(".")
        return any(".".join(parts[:length]) in self.modules for length in range(1, len(parts) + 1))


def known_zoos(store: Store | None = None, named: Iterable[str] = ()) -> Zoo:
    """Return all that is known of every zoo, as one.

    Args:
        store: whose entries to look at; None looks at none.
        named: further modules, packages or classes that are model code, by dotted name.
    """
    found = [*_installed(), *(_stored(store) if store is not None else ())]
    return Zoo(
        modules=frozenset(named).union(*(zoo.modules for zoo in found)),
        kinds=frozenset().union(*(zoo.kinds for zoo in found)),
        classes=frozenset().union(*(zoo.classes for zoo in found)),
    )


def _installed() -> Iterator[Zoo]:
    for entry in metadata.entry_points(group=GROUP):
        yield _zoo({entry.name: entry.value})


def _stored(store: Store) -> Iterator[Zoo]:
    for entry in store.entries():
        kinds = entry.entry_points(GROUP)
        if kinds:
            yield _zoo(kinds)
            yield Zoo(modules=frozenset(entry.top_levels))


def _zoo(kinds: Mapping[str, str]) -> Zoo:
    values = [value.partition(":") for value in kinds.values()]
    return Zoo(
        modules=frozenset(module.partition(".")[0] for module, _, _ in values),
        kinds=frozenset(kinds),
        classes=frozenset(attribute.rpartition(".")[2] for _, _, attribute in values),
    )
