"""Judging the shared libraries from metadata: what the code asks for, what is installed now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLibrary:
    """One requirement on a library that is not part of the unit.

    Attributes:
        name: the required distribution.
        asked: the range that the code asks for, empty for any.
        installed: the version at hand, None when absent.
        met: whether the installed version lies in the range; prereleases count.
        then: the version that a checkpoint was saved with, None where it is not known.
    """

    name: str
    asked: str
    installed: str | None
    met: bool
    then: str | None = None

    def __str__(self) -> str:
        return f"{self.name}: asked for {self.asked or 'any version'}, here is {self.installed or 'none'}"


def judge_shared_libraries(
    requirements: Iterable[str], own: Iterable[str], recorded: Mapping[str, str] | None = None
) -> list[SharedLibrary]:
    """Return the requirements that apply to this interpreter and that the unit does not bring itself.

    Args:
        requirements: as metadata states them.
        own: the distributions of the unit.
        recorded: versions that a checkpoint was saved with, by distribution.
    """
    then = {canonicalize_name(each): version for each, version in (recorded or {}).items()}
    private = {canonicalize_name(name) for name in own}
    judged: dict[tuple[str, str], SharedLibrary] = {}
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue  # an old metadata spelling: it says nothing that could be judged
        name = canonicalize_name(requirement.name)
        if name in private or not applies(requirement):
            continue
        installed = _installed(name)
        met = installed is not None and requirement.specifier.contains(installed, prereleases=True)
        asked = str(requirement.specifier)
        judged[name, asked] = SharedLibrary(
            name=requirement.name, asked=asked, installed=installed, met=met, then=then.get(name)
        )
    return list(judged.values())


def applies(requirement: Requirement) -> bool:
    """Whether a requirement applies to this interpreter; one whose condition nobody can judge does."""
    try:
        return requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    except (ValueError, LookupError):  # a comparison that is none, a variable of another tool
        return True


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
