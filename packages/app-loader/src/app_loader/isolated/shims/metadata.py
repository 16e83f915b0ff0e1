"""`importlib.metadata` as isolated code sees it: its own distributions first, then those of the environment."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from app_loader.isolated._unit import Unit


def overrides(unit: Unit, real_name: str) -> dict[str, Any]:
    """Return the look-ups of `importlib.metadata` or its backport, for one unit.

    An entry point of the unit names the isolated module, so that `load` gives the unit's own object.
    """

    @cache
    def own() -> dict[str, Any]:
        real = importlib.import_module(real_name)

        class UnitDistribution(real.PathDistribution):  # type: ignore[name-defined, misc]  # known at run time only
            @property
            def entry_points(self) -> Any:
                return real.EntryPoints(
                    real.EntryPoint(name=p.name, group=p.group, value=_isolated_value(unit, p.value))._for(self)
                    for p in super().entry_points
                )

        return {_normal(part.distribution): UnitDistribution(part.info) for part in unit.parts if part.info}

    def original(name: Any) -> Any:  # version(__name__), entry_points(group=f"{__package__}.plugins")
        return unit.original_name(name) if isinstance(name, str) else name

    def distribution(distribution_name: str) -> Any:
        distribution_name = original(distribution_name)
        found = own().get(_normal(distribution_name))
        return found if found is not None else importlib.import_module(real_name).distribution(distribution_name)

    def distributions(**options: Any) -> Iterator[Any]:
        options = {key: original(value) for key, value in options.items()}
        if not options:
            yield from own().values()
        elif set(options) == {"name"} and options["name"] and _normal(options["name"]) in own():
            yield own()[_normal(options["name"])]
            return
        for each in importlib.import_module(real_name).distributions(**options):
            if _normal(each.metadata["Name"] or "") not in own():
                yield each

    def version(distribution_name: str) -> str:
        return str(distribution(distribution_name).version)

    def metadata(distribution_name: str) -> Any:
        return distribution(distribution_name).metadata

    def requires(distribution_name: str) -> Any:
        return distribution(distribution_name).requires

    def files(distribution_name: str) -> Any:
        return distribution(distribution_name).files

    def entry_points(**options: Any) -> Any:
        options = {key: original(value) for key, value in options.items()}
        real = importlib.import_module(real_name)
        points = [point for each in own().values() for point in each.entry_points]
        shared = real.entry_points(**options)
        everyone = getattr(shared, "_all", shared)  # Python 3.11 groups them where nothing is selected
        kept = [p for p in everyone if p.dist is None or _normal(p.dist.name) not in own()]
        found = real.EntryPoints([*real.EntryPoints(points).select(**options), *kept])
        return found if everyone is shared else type(shared).load(found)

    def packages_distributions() -> dict[str, list[str]]:
        found = dict(importlib.import_module(real_name).packages_distributions())
        for part in unit.parts:
            for root in part.owned.roots:
                found[root] = [part.distribution]
        return found

    return {
        "distribution": distribution,
        "distributions": distributions,
        "version": version,
        "metadata": metadata,
        "requires": requires,
        "files": files,
        "entry_points": entry_points,
        "packages_distributions": packages_distributions,
    }


def _isolated_value(unit: Unit, value: str) -> str:
    module, colon, attribute = value.partition(":")
    return f"{unit.isolated_name(module.strip())}{colon}{attribute}"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
