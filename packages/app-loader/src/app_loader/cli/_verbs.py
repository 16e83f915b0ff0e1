"""A verb that has verbs of its own, as `mpt zoo` has: its help lists them as `mpt --help` does."""

from __future__ import annotations

import click


class Verbs(click.Group):
    """A group whose commands are called verbs."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs."""
        rows = [(name, verb.get_short_help_str(limit=80)) for name, verb in sorted(self.commands.items())]
        with formatter.section("Verbs"):
            formatter.write_dl(rows)
