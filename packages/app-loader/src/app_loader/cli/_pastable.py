"""Verbs whose errors name commands that can be pasted: with the path and the store that the verb was given."""

from __future__ import annotations

from typing import Any

import click


class PastableCommand(click.Command):
    """A verb with an argument ``path`` (or several, ``paths``) and an option ``--store``."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; the text of an error is completed on its way out, and the contract's own end in exit code 1."""
        from mpt_format import MptError
        from mpt_format.errors import escape_text
        from policy_interface.errors import PolicyInterfaceError

        from app_loader.commands import complete_text

        try:
            return super().invoke(ctx)
        except (MptError, PolicyInterfaceError) as error:
            given = ctx.params
            paths = given.get("paths") or (given.get("path") or "",)
            archive = str(paths[0]) if len(paths) == 1 else ""
            rules = str(given.get("rules") or "")
            code = str(given.get("code") or "")
            text = complete_text(str(error), archive=archive, store=given.get("store"), rules=rules, code=code)
            if isinstance(error, MptError):
                error.args = (text, *error.args[1:])
                raise
            shown = "\n".join(escape_text(line) for line in text.splitlines())
            click.echo(f"mpt: {type(error).__name__}: {shown}", err=True)
            ctx.exit(1)
