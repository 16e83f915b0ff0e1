"""Verbs whose errors name commands that can be pasted: with the path and the store that the verb was given."""

from __future__ import annotations

from typing import Any

import click


class CompletingCommand(click.Command):
    """A verb with an argument ``path`` (or several, ``paths``) and an option ``--store``."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; the text of an error is completed on its way out."""
        from mpt_format import MptError

        from app_loader.commands import complete_text

        try:
            return super().invoke(ctx)
        except MptError as error:
            paths = ctx.params.get("paths") or (ctx.params.get("path") or "",)
            archive = str(paths[0]) if len(paths) == 1 else ""
            error.args = (complete_text(str(error), archive=archive, store=ctx.params.get("store")), *error.args[1:])
            raise
