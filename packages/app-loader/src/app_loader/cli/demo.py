"""`mpt demo`: the main job on real input, in under two minutes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from app_loader.cli._options import store_option


@click.command("demo", short_help="Train with an old model zoo, load beside the newest.")
@click.option(
    "--wheelhouse",
    type=click.Path(file_okay=False),
    metavar="FOLDER",
    default=None,
    help="Where the released wheels are; found when left out.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    default="run.mpt",
    show_default=True,
    help="The checkpoint to write.",
)
@store_option
def demo(output: str, store: str | None, wheelhouse: str | None) -> None:
    """Train with an old model zoo, then load beside the newest one and get the same actions.

    \b
    Examples:
      mpt demo
      mpt demo -o /tmp/run.mpt --store /tmp/store
    """  # noqa: D301
    from rich.console import Console

    from app_loader.environments.extra import check_gymnasium

    check_gymnasium("mpt demo")
    from app_loader.demo.train import train_and_save
    from app_loader.demo.wheelhouse import find_old_wheel
    from app_loader.store import Store

    console = Console(highlight=False, soft_wrap=True)
    opened = Store(store)
    console.rule("T1: train with model-zoo 0.1.0, from its wheel", align="left")
    wheel = find_old_wheel(Path(wheelhouse) if wheelhouse else None)
    train_and_save(opened, wheel, Path(output), console)
    console.rule("T2: another process, the newest model zoo is installed", align="left")
    later = subprocess.run([sys.executable, "-m", "app_loader.demo.later", output, str(opened.path)], check=False)
    sys.exit(later.returncode)
