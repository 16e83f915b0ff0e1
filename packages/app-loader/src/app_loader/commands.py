"""The commands that a message tells a person to run, completed: the archive's path in its place, the store named.

What an error was raised for is not always known where it is raised; there the word ARCHIVE stands for the path. Who
knows the path and the store puts them in, so that every printed command can be pasted as it is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from policy_interface.errors import PolicyInterfaceError

from app_loader.errors import LoaderError
from app_loader.store import Store
from app_loader.store.store import default_store_path

_TAKES_A_STORE = re.compile(r"mpt (?:load|eval|diagnose|migrate|zoo)\b")
_COMMAND_LINE = re.compile(r"^Run: (mpt .*)$", re.MULTILINE)


def complete(
    command: str, *, archive: str = "", store: Store | str | Path | None = None, rules: str = "", code: str = ""
) -> str:
    """Return a command with the archive's path in the place of ARCHIVE, and the store where it is not the default one.

    Args:
        command: one line, as in ``mpt diagnose ARCHIVE   # a remark``.
        archive: the path; empty leaves ARCHIVE.
        store: where the code was looked for; None is the default one.
        rules: the file of today's game rules, in the place of RULES; empty leaves the word.
        code: the code that was asked for: a diagnosis is one of that code. Empty is the one that it takes by itself.
    """
    said, gap, remark = command.partition("   #")
    if archive:
        said = re.sub(r"(?<!\S)ARCHIVE(?!\S)", lambda _: shlex.quote(archive), said)
    if rules:
        said = re.sub(r"(?<!\S)RULES(?!\S)", lambda _: shlex.quote(rules), said)
    if code not in ("", "current") and said.startswith("mpt diagnose ") and "--code" not in said:
        said += f" --code {shlex.quote(code)}"
    path = store.path if isinstance(store, Store) else None if store is None else Path(store)
    if path is not None and path != default_store_path() and "--store" not in said and _TAKES_A_STORE.match(said):
        said += f" --store {shlex.quote(str(path))}"
    return f"{said}{gap}{remark}"


def complete_text(
    text: str, *, archive: str = "", store: Store | str | Path | None = None, rules: str = "", code: str = ""
) -> str:
    """Return an error's text with the command that it ends with completed; the arguments are those of `complete`."""
    return _COMMAND_LINE.sub(
        lambda found: f"Run: {complete(found[1], archive=archive, store=store, rules=rules, code=code)}", text
    )


@contextmanager
def completed(
    archive: str | Path, *, store: Store | str | Path | None = None, rules: str = "", code: str = ""
) -> Iterator[None]:
    """Complete the errors that are raised inside: their text, and their `next_command`, which pickle keeps too.

    Args:
        archive: the path.
        store: as for `complete`.
        rules: likewise.
        code: likewise.
    """
    try:
        yield
    except (LoaderError, PolicyInterfaceError) as error:
        known = {"archive": str(archive), "store": store, "rules": rules, "code": code}
        error.args = (complete_text(str(error), **known), *error.args[1:])  # type: ignore[arg-type]  # by their names
        if getattr(error, "next_command", ""):
            error.next_command = complete(error.next_command, **known)  # type: ignore[union-attr,arg-type]
        raise
