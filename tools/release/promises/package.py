"""Every promise of one package, compared between its last release and a new wheel of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from packaging.utils import parse_wheel_filename
from packaging.version import Version

from tools.release.promises.api import compare_apis
from tools.release.promises.change import Change, worst_first
from tools.release.promises.command import compare_commands
from tools.release.promises.contract import compare_contracts
from tools.release.promises.probe import unpack_wheel
from tools.release.promises.zoo import compare_zoos

Comparison = Callable[[Path, Path, Version], Iterator[Change]]


def compare_wheels(name: str, old: Path, new: Path) -> Sequence[Change]:
    """Return what differs between two wheels of a package, the gravest first.

    Raises:
        ReleaseError: a wheel cannot be probed.
    """
    with tempfile.TemporaryDirectory(prefix="promises-") as scratch:
        folders = (unpack_wheel(old, Path(scratch, "old")), unpack_wheel(new, Path(scratch, "new")))
        released = parse_wheel_filename(old.name)[1]
        return worst_first(_COMPARISONS[name](*folders, released))


def _compare_contract(old: Path, new: Path, released: Version) -> Iterator[Change]:
    yield from compare_contracts(old, new)


def _compare_formats(old: Path, new: Path, released: Version) -> Iterator[Change]:
    yield from compare_apis("mpt_format", old, new)
    yield from compare_commands(old, new)


def _compare_loaders(old: Path, new: Path, released: Version) -> Iterator[Change]:
    yield from compare_apis("app_loader", old, new)
    yield from compare_commands(old, new)


_COMPARISONS: dict[str, Comparison] = {
    "policy-interface": _compare_contract,
    "model-zoo": compare_zoos,
    "mpt-format": _compare_formats,
    "app-loader": _compare_loaders,
}
