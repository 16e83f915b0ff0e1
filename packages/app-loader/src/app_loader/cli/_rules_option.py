"""The option `--rules`: a JSON file with today's game rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from policy_interface import GameRules


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
