"""The record of the code behind a policy: its distribution, version, digests, requirements and provenance.

An isolated class is recorded under its original distribution, version and wheel, never under the isolated name.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from mpt_format import CodeRecord
from policy_interface import Origin, PolicyArchitecture, origin_of

from app_loader.code import Code, InstalledCode, StoredCode
from app_loader.edited import EditedSourceWarning, find_edited
from app_loader.errors import BuildError
from app_loader.isolated import known_units
from app_loader.judge import CONTRACT, judge_requirements
from app_loader.provenance import Provenance, find_provenance, strip_credentials
from app_loader.store import Entry

_SHOWN = 5


class UnrecordedSourceWarning(UserWarning):
    """A policy was saved from source that the archive and its repository alone cannot give again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCode:
    """What a manifest says about code.

    Attributes:
        record: distribution, version, digests, provenance.
        requires: ``policy_interface``: the contract range; ``distributions``: the code's own requirements;
            ``companions``: the private companions, each with distribution, version and wheel_sha256.
        diff: the working tree's difference from its commit; None for a clean tree or no tree at all.
    """

    record: CodeRecord
    requires: dict[str, Any] = field(default_factory=dict)
    diff: bytes | None = None


def record_code(cls: type[PolicyArchitecture], made_of: Iterable[type] = ()) -> RecordedCode:
    """Return the record of the code that a class belongs to.

    Installed source that was edited since it was imported is not pinned, with an `EditedSourceWarning`: a digest of its
    files would pin code that never ran.

    Args:
        cls: the architecture.
        made_of: the classes of the policy's modules.

    Raises:
        BuildError: no distribution owns the class, or its distribution does not declare its kind.
        ProvenanceError: the working tree's difference cannot be recorded (too large, or it holds a secret).
    """
    code = find_code(cls)
    package = origin_of(cls).module.partition(".")[0]
    edited = [] if isinstance(code, StoredCode) else find_edited({cls, *(m for m in made_of if _within(m, package))})
    if edited:
        warnings.warn(
            f"{', '.join(edited)}: edited after it was imported, so the archive does not pin its code, and "
            "load_policy(code='trained') will refuse it; save again from a process that has imported what is on disk",
            EditedSourceWarning,
            stacklevel=3,
        )
    provenance = Provenance() if edited else _provenance(code, package)
    if provenance.unrecorded:
        shown = "; ".join(provenance.unrecorded[:_SHOWN])
        more = len(provenance.unrecorded) - _SHOWN
        warnings.warn(
            f"{code.distribution} {code.version} cannot be built again from the archive and its repository alone: "
            f"{shown}{f'; and {more} more' if more > 0 else ''}; commit or move them, or build a wheel and keep it",
            UnrecordedSourceWarning,
            stacklevel=3,
        )
    return RecordedCode(
        record=CodeRecord(
            distribution=code.distribution,
            version=code.version,
            wheel_sha256=None if edited else code.wheel_sha256,
            unit_sha256=code.unit_sha256,
            package=package,
            package_sha256=None if edited else code.package_sha256(package),
            repository=provenance.repository,
            commit=provenance.commit,
            branch=provenance.branch,
            dirty=provenance.dirty,
            diff_member="source.diff" if provenance.diff is not None else None,
        ),
        requires=_requires(code),
        diff=provenance.diff,
    )


def _within(cls: type, package: str) -> bool:
    return cls.__module__ == package or cls.__module__.startswith(f"{package}.")


def find_code(cls: type[PolicyArchitecture]) -> Code:
    """Return the code that a class belongs to: the stored wheel it was isolated from, or the installed distribution.

    Raises:
        BuildError: no distribution owns the class, or its distribution does not declare its kind.
    """
    origin = origin_of(cls)
    if not origin.distribution:
        raise BuildError(
            str(origin),
            stage="save",
            cause="no installed distribution owns this class, so nobody could load the checkpoint later; "
            "put it into a package and install that",
            next_command="mpt new-zoo NAME   # makes such a package",
        )
    code: Code
    if origin.digest is not None:
        code = StoredCode(_entry(origin))
    else:
        code = InstalledCode(metadata.distribution(origin.distribution))
    if cls.kind not in code.kinds():
        raise BuildError(
            str(origin),
            stage="save",
            cause=f"{code.distribution} {code.version} does not declare the kind {cls.kind!r}; add to its "
            f'pyproject.toml: [project.entry-points."policy_interface.architectures"] {cls.kind} = '
            f'"{origin.module}:{origin.qualname}"',
            next_command="uv sync   # installs the package anew, with that line in its pyproject.toml",
        )
    return code


def _entry(origin: Origin) -> Entry:
    unit = next(unit for unit in known_units() if unit.digest == origin.digest)
    if not (unit.folder.parent / "entry.json").is_file():
        raise BuildError(
            str(origin),
            stage="save",
            cause=f"{unit.folder} is a bare folder; its code cannot be pinned",
            next_command="mpt zoo add WHEEL   # makes an entry that can",
        )
    return Entry(unit.folder.parent)


def _provenance(code: Code, package: str) -> Provenance:
    """Return where source comes from: by the store, by what an installer wrote down, or by git of a working tree."""
    if isinstance(code, StoredCode):
        known = code.entry.provenance
        if known.get("with_diff") or "commit" not in known:
            return Provenance()  # the commit alone would not give this wheel
        repository = strip_credentials(str(known["repository"]))
        return Provenance(repository=repository, commit=str(known["commit"]), dirty=False)
    if isinstance(code, InstalledCode) and code.repository is not None:
        repository, commit = code.repository
        return Provenance(repository=strip_credentials(repository), commit=commit, dirty=False)
    spec = importlib.util.find_spec(package)
    locations = spec.submodule_search_locations if spec else None
    found = find_provenance(Path(next(iter(locations)))) if locations else Provenance()
    if isinstance(code, InstalledCode) and code.is_editable and found == Provenance():
        return Provenance(unrecorded=("its files lie in no git repository that knows them",))
    return found


def _requires(code: Code) -> dict[str, Any]:
    ranges = [each.specifier for each in judge_requirements(code.requires, [CONTRACT])]
    found: dict[str, Any] = {
        "policy_interface": ranges[0] if ranges else "",
        "distributions": list(code.requires),
    }
    if isinstance(code, StoredCode) and len(code.entry.wheels) > 1:
        found["companions"] = [
            {"distribution": wheel.name, "version": wheel.version, "wheel_sha256": wheel.sha256}
            for wheel in code.entry.wheels[1:]
        ]
    return found
