"""The options that several verbs have: one spelling, one text, one completion each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from app_loader.store import Entry

_Function = TypeVar("_Function", bound=Callable[..., Any])


def code_option(default: str, *, spelling: str = "--code", trained: bool = True) -> Callable[[_Function], _Function]:
    """Return the option that says which code is meant.

    Args:
        default: what is taken when it is left out.
        spelling: `--code`, or `--to` where something is brought to that code.
        trained: whether `trained` is one of the answers.
    """
    named = ["trained"] * trained + ["current"]
    named.sort(key=lambda name: name != default)

    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        stored = {entry.version for entry in _stored(ctx)}
        return [text for text in (*named, *sorted(stored)) if text.startswith(incomplete)]

    return click.option(
        spelling,
        "code",
        default=default,
        show_default=True,
        metavar="CODE",
        shell_complete=complete,
        help=f"{', '.join(named)} or a stored version.",
    )


def store_option(function: _Function) -> _Function:
    """Add the option `--store`."""
    return click.option(
        "--store",
        type=click.Path(),
        metavar="FOLDER",
        default=None,
        help="The store of wheels; the default one when left out.",
    )(function)


def json_option(what: str) -> Callable[[_Function], _Function]:
    """Return the option `--json`, given to the function as ``as_json``; `docs/command-line.md` has the shapes."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what} as JSON.")


def complete_entry(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return how the stored entries are named that begin so."""
    names = sorted({f"{entry.distribution}=={entry.version}" for entry in _stored(ctx)})
    return [name for name in names if name.startswith(incomplete)]


def _stored(ctx: click.Context) -> list[Entry]:
    """Return what the store has; a shell that asks is never told of an error."""
    from mpt_format import MptError

    from app_loader.store import Store

    try:
        return list(Store(ctx.params.get("store")).entries())
    except (MptError, OSError):
        return []
