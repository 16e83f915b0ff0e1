"""Judging from metadata, before any code of a wheel runs: does it fit this contract and these shared libraries?

Outside of the contract's range nothing is loaded. Outside of a shared library's range it may well work, and ranges are
often drawn with care; so it is told, with what was there then, and the code has to repeat its witness.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

from mpt_format.errors import escape_text
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from app_loader.code import Code, StoredCode
from app_loader.errors import IncompatibleInterfaceError
from app_loader.store.shared import SharedLibrary, applies, judge_shared_libraries

CONTRACT = "policy-interface"


class SharedLibraryWarning(UserWarning):
    """Code is loaded beside shared libraries outside the ranges that its metadata asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requires:
    """One requirement of model code beside what the environment has.

    Attributes:
        name: the required distribution.
        specifier: the accepted range, as in ``>=1.0,<2``.
        installed: the version at hand, None when absent.
    """

    name: str
    specifier: str
    installed: str | None

    @property
    def met(self) -> bool:
        """Whether the installed version lies in the range; prereleases count."""
        if self.installed is None:
            return False
        try:
            return SpecifierSet(self.specifier).contains(self.installed, prereleases=True)
        except InvalidSpecifier:
            return False


def judge_requirements(requirements: Iterable[str], names: Iterable[str]) -> list[Requires]:
    """Return the requirements on the given distributions that apply to this interpreter, beside what is installed."""
    wanted = {canonicalize_name(name) for name in names}
    judged = []
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            name, said = _split(text)
            if canonicalize_name(name) in wanted:  # what cannot be read is not met
                judged.append(Requires(name=name, specifier=said, installed=_installed_version(name)))
            continue
        if canonicalize_name(requirement.name) in wanted and applies(requirement):
            judged.append(
                Requires(
                    name=requirement.name,
                    specifier=str(requirement.specifier),
                    installed=_installed_version(requirement.name),
                )
            )
    return judged


def check_contract(code: Code) -> None:
    """Check that the installed contract lies in the range that the code asks for.

    Raises:
        IncompatibleInterfaceError: it does not; nothing of the code has run.
    """
    for requires in judge_requirements(code.requires, [CONTRACT]):
        if not requires.met:
            raise IncompatibleInterfaceError(
                distribution=code.distribution,
                version=code.version,
                required=requires.specifier,
                installed=requires.installed,
            )


def find_outside(code: Code, recorded: Mapping[str, str]) -> list[SharedLibrary]:
    """Return the shared libraries of code that lie outside the range that its metadata asks for.

    Args:
        code: a stored wheel, whose private companions are judged with it and are none of them; or what is installed.
        recorded: the versions that a checkpoint was saved with, by distribution.
    """
    if isinstance(code, StoredCode):
        own = [wheel.name for wheel in code.entry.wheels]
        requirements = [line for wheel in code.entry.wheels for line in wheel.requires]
    else:
        own, requirements = [code.distribution], list(code.requires)
    return [each for each in judge_shared_libraries(requirements, own, recorded) if not each.met]


def table_of(libraries: Sequence[SharedLibrary]) -> str:
    """Return a table of shared libraries: what is asked for, what was there then, what is here now."""
    rows: list[tuple[str, ...]] = [("shared library", "asked for", "then", "now")]
    rows += [(each.name, each.asked or "any", each.then or "unknown", each.installed or "none") for each in libraries]
    rows = [tuple(map(escape_text, row)) for row in rows]  # what was there then is what an archive says
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows)


def _split(text: str) -> tuple[str, str]:
    """Return the name at the beginning of a requirement that is none, and the rest of it."""
    found = re.match(r"\s*([A-Za-z0-9._-]*[A-Za-z0-9])?\s*(.*)", text, re.DOTALL)
    assert found is not None  # it fits every text
    return found[1] or "", found[2]


def _installed_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
