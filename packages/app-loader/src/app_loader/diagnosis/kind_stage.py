"""Which class of the code reads an archive's kind; where none does, the nearest one, for looking only."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from policy_interface import PolicyArchitecture

from app_loader.code import Code
from app_loader.diagnosis.finding import DRAFT, Finding
from app_loader.errors import UnknownKindError


@dataclass(frozen=True, slots=True, kw_only=True)
class KindFound:
    """What stands for a kind in the code.

    Attributes:
        cls: the class of that kind, or of the nearest one; None when there is nothing to look at.
        kind: the kind of that class.
        findings: what is wrong with it.
    """

    cls: type[PolicyArchitecture] | None
    kind: str
    findings: tuple[Finding, ...] = ()


def find_kind(code: Code, kind: str) -> KindFound:
    """Return the class that reads a kind, with every reason against it."""
    try:
        return KindFound(cls=code.architecture_class(kind), kind=kind)
    except UnknownKindError as error:
        near = _nearest(kind, error.declared)
        looked = (f"the next stages were looked at with {near!r}",) if near else ()
        finding = Finding(
            stage="config",
            severity="error",
            subject="kind",
            message=f"{code.distribution} {code.version} has no architecture of kind {kind!r}",
            old=kind,
            new=near or None,
            evidence=looked,
            candidates=error.declared,
            next_command=DRAFT if near else "mpt load ARCHIVE --code trained",
            change="kind",
        )
        beside = find_kind(code, near) if near else KindFound(cls=None, kind=kind)
        return KindFound(cls=beside.cls, kind=beside.kind, findings=(finding, *beside.findings))
    except Exception as error:  # whatever importing raises is a fact about that code
        said = f"the code cannot be imported: {type(error).__name__}: {error}"
        finding = Finding(
            stage="config",
            severity="error",
            subject="import",
            message=said,
            next_command="mpt load ARCHIVE --code trained",
        )
        return KindFound(cls=None, kind=kind, findings=(finding,))


def _nearest(kind: str, declared: tuple[str, ...]) -> str:
    """Return the kind that may be meant: the only one there is, or the one with a near name."""
    if len(declared) == 1:
        return declared[0]
    return next(iter(difflib.get_close_matches(kind, declared, n=1, cutoff=0.6)), "")
