"""Running another program for a bounded time: when it is over, what the program itself started is ended too."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_KEPT = (
    "UV_CACHE_DIR",
    "UV_SYSTEM_CERTS",
    "UV_NATIVE_TLS",
    "UV_HTTP_TIMEOUT",
    "UV_KEYRING_PROVIDER",
    "UV_CREDENTIALS_DIR",
)
"""What of uv's own environment is no matter of trust. The rest may name indexes, constraints, other interpreters."""


def run(
    command: Sequence[str],
    folder: Path,
    *,
    environment: Mapping[str, str],
    timeout_s: float,
    given: bytes | None = None,
    output: IO[bytes] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a folder with exactly this environment; its answer is captured, or written to `output`.

    Raises:
        OSError: it cannot be started.
        subprocess.TimeoutExpired: it took too long; it and its children were ended.
    """
    with subprocess.Popen(
        command,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
        stdout=subprocess.PIPE if output is None else output,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            answer, said = process.communicate(given, timeout=timeout_s)
        except BaseException:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    return subprocess.CompletedProcess(command, process.returncode, answer or b"", said)


def uv_environment() -> dict[str, str]:
    """Return this process's environment without what would let uv look elsewhere than it is told to."""
    return {
        name: value
        for name, value in os.environ.items()
        if name != "VIRTUAL_ENV" and (not name.startswith("UV_") or name in _KEPT)
    }
