"""Judging from metadata, before any code of a wheel runs: does it fit this contract and these shared libraries?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app_loader.code import Code
from app_loader.errors import IncompatibleInterfaceError

CONTRACT = "policy-interface"


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
        return Requirement(f"x{self.specifier}").specifier.contains(self.installed, prereleases=True)


def judge_requirements(requirements: Iterable[str], names: Iterable[str]) -> list[Requires]:
    """Return the requirements on the given distributions that apply to this interpreter, beside what is installed."""
    wanted = {canonicalize_name(name) for name in names}
    judged = []
    for text in requirements:
        requirement = Requirement(text)
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if canonicalize_name(requirement.name) in wanted and applies:
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


def _installed_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
