"""The option `--rules`: a JSON file with today's game rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from policy_interface import GameRules

_Function = TypeVar("_Function", bound=Callable[..., Any])


def rules_option(function: _Function) -> _Function:
    """Add the option `--rules`."""
    return click.option(
        "--rules", type=click.Path(exists=True), metavar="FILE", help="Today's game rules, a JSON file."
    )(function)


def read_rules_option(path: str | Path) -> GameRules:
    """Return the rules in a file.

    Raises:
        click.BadParameter: they are no game rules, or no text.
    """
    from policy_interface import GameRules, InvalidConfigError

    try:
        return GameRules.from_json(Path(path).read_text(encoding="utf-8"))
    except (InvalidConfigError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path}: {error}", param_hint="--rules") from None
