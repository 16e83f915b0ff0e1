"""A function for several processes that some names end: in a module of its own, which takes no time to import."""

from __future__ import annotations

import os
import signal

from mpt_format import AuditError


def shout(name: str) -> str:
    """Die at some names, refuse others, and say the rest loudly."""
    if name.startswith("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("odd"):
        raise AuditError(name)
    return name.upper()
