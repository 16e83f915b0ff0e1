"""What an earlier `mpt audit --json` said: a gate minds what is new, and an old share may keep what it has.

A file is known where it has the verdict it had, and no cause that it had not. A dangerous file is never known.
"""

from __future__ import annotations

__all__ = ["KnownAudits", "read_known"]

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpt_format.audit._causes import Told, key_of
from mpt_format.errors import AuditError, escape_text


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAudits:
    """File, as it was named then -> its verdict, and the keys of its causes."""

    files: dict[str, tuple[str, frozenset[tuple[str, ...]]]]

    def holds(self, file: str, verdict: str, causes: Iterable[Told]) -> bool:
        """Whether nothing is wrong with a file that was not wrong before."""
        before = self.files.get(file)
        if before is None or verdict in ("ok", "dangerous"):
            return False
        return before[0] == verdict and before[1].issuperset(cause.key for cause in causes)


def read_known(path: str) -> KnownAudits:
    """Read the document that `mpt audit --json` printed.

    Raises:
        AuditError: It is no such document, or cannot be read.
    """
    try:
        document = json.loads(Path(path).read_bytes())
        audits = document if isinstance(document, list) else [document]
        return KnownAudits(files={one["file"]: _read_one(one) for one in audits if "error" not in one})
    except OSError as error:
        raise AuditError(f"--known {escape_text(path)} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise AuditError(
            f"--known {escape_text(path)}: expected what `mpt audit --json` prints; "
            "write it with `mpt audit PATH --json`"
        ) from None


def _read_one(audit: dict[str, Any]) -> tuple[str, frozenset[tuple[str, ...]]]:
    findings = [key_of(one["severity"], one["kind"], one["global"]) for one in audit["findings"]]
    return audit["verdict"], frozenset([*findings, ("notckpt", audit["container"])])
