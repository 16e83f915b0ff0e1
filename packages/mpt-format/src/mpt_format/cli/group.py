"""The top of the `mpt` command: finds the verb, and turns our errors into one readable message.

Exit codes: 0 fine, 1 findings or refused, 2 wrong usage; `audit` adds 3 and 4 (docs/command-line.md).
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import click

from mpt_format.cli.verbs import BUILT_IN, joined_verbs, load_verb
from mpt_format.errors import MptError, escape_text

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_INTERRUPTED = 130
"""128 and SIGINT, as shells say it."""


class VerbGroup(click.Group):
    """A group whose verbs are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every verb's name."""
        return sorted({*BUILT_IN, *joined_verbs()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one verb."""
        return load_verb(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, and name near ones when there is none."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and self.get_command(ctx, name) is None:
            import difflib

            near = difflib.get_close_matches(name, self.list_commands(ctx), n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            if not near and not joined_verbs():
                hint = " Verbs that run model code (load, eval, diagnose, migrate, zoo) come with app-loader: "
                hint += "pip install app-loader"
            ctx.fail(f"No such verb {escape_text(name)!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs: ours from the table, the others by importing them."""
        rows = [(name, verb.summary) for name, verb in BUILT_IN.items()]
        for name, entry_point in joined_verbs().items():
            try:
                rows.append((name, entry_point.load().get_short_help_str(limit=80)))
            except Exception as error:  # one broken distribution must not take the help away
                rows.append((name, f"(cannot be loaded: {type(error).__name__}: {error})"[:100]))
        with formatter.section("Verbs"):
            formatter.write_dl(sorted(rows))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; our own errors, and a path that cannot be used, become a message and exit code 1."""
        try:
            return super().invoke(ctx)
        except MptError as error:
            show_error(error)
            ctx.exit(1)
        except KeyboardInterrupt:  # not 1, which says that something was found or refused
            click.echo("mpt: interrupted", err=True)
            ctx.exit(_INTERRUPTED)
        except OSError as error:
            if error.errno in _NO_ROOM and error.filename is None:  # what is printed goes to a file on a full disk
                click.echo(f"mpt: the output cannot be written: {error.strerror}; make room", err=True)
                ctx.exit(1)
            # without a path it is no wrong argument: a closed pipe, which click ends quietly, or a defect of ours
            if error.filename is None:
                raise
            reason = error.strerror or type(error).__name__
            click.echo(f"mpt: {escape_text(os.fsdecode(error.filename))}: {reason}; choose another path", err=True)
            ctx.exit(1)


def show_error(error: MptError) -> None:
    """Print an error to stderr: in a frame on a terminal, as plain lines elsewhere."""
    text = "\n".join(escape_text(line) for line in str(error).splitlines())
    if not sys.stderr.isatty():
        click.echo(f"mpt: {type(error).__name__}: {text}", err=True)
        return
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    Console(stderr=True).print(Panel(Text(text), title=type(error).__name__, title_align="left", border_style="red"))


def _show_versions(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    """Print the version of every distribution whose verbs these are: what the report of a fault needs."""
    if not asked or ctx.resilient_parsing:
        return
    from importlib.metadata import version

    joined = {verb.dist.name: verb.dist.version for verb in joined_verbs().values() if verb.dist}
    for name, number in {"mpt-format": version("mpt-format"), **joined}.items():
        click.echo(f"{name} {number}")
    ctx.exit()


@click.group(cls=VerbGroup, subcommand_metavar="VERB ...", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_versions,
    help="Show the versions of mpt-format and of what joins it, and exit.",
)
def mpt() -> None:
    """Inspect, verify, convert and load checkpoints that still work years later.

    `mpt VERB --help` says what a verb does, with examples. Exit codes: 0 fine, 1 findings or refused, 2 wrong usage;
    audit adds 3 and 4.

    \b
    Examples:
      mpt load run.mpt
      mpt inspect run.mpt
      mpt audit old.pt
      eval "$(_MPT_COMPLETE=bash_source mpt)"     (tab completion; also zsh_source, fish_source)
    """  # noqa: D301


def main() -> None:
    """Entry point of the `mpt` script."""
    mpt(prog_name="mpt")
