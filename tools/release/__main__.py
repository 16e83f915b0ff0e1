"""The command line: release one package, check every promise, build a release again, write the index anew."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from tools.release.build import build_wheel
from tools.release.errors import BumpError, ReleaseError
from tools.release.git import commit_time
from tools.release.packages import ROOT, Package, get_package, parse_version
from tools.release.rebuild import rebuild
from tools.release.release import WHEELHOUSE, check_bump, release, upload_command
from tools.release.wheelhouse import read_wheelhouse, write_index

PACKAGES = ("policy-interface", "model-zoo", "mpt-format", "app-loader")


@click.group()
def main() -> None:
    """Release the packages of this repository; nothing is ever uploaded."""


@main.command("release", epilog="Example:\n\n  just release model-zoo 0.4.0 --dry-run")
@click.argument("package")
@click.argument("version")
@click.option("--dry-run", is_flag=True, help="Do everything but set the tag and move the branch.")
@click.option("--index", default="releases", show_default=True, help="The named index in the printed upload command.")
def release_one(package: str, version: str, dry_run: bool, index: str) -> None:
    """Release PACKAGE as VERSION."""
    made = release(get_package(package), parse_version(version), dry_run=dry_run, say=_say)
    for change in made.changes:
        click.echo(f"  {change}")
    click.echo(f"{made.wheel.sha256}  {made.wheel.path.name}")
    if dry_run:
        click.echo("dry run: every step passed; no tag was set and the branch did not move")
        return
    click.echo(f"released {made.package.name} {made.version} from {made.commit[:12]}; still to do, by you:")
    click.echo(f"  git push --follow-tags\n  {upload_command(made.wheel, index)}")


@main.command("promises", epilog="Example:\n\n  just promises")
def check_promises() -> None:
    """Compare every package with its last release; exit 1 when a version in the tree does not say what changed."""
    broken = 0
    for name in PACKAGES:
        package = get_package(name)
        with tempfile.TemporaryDirectory(prefix="promises-") as scratch:
            try:
                _report(package, Path(scratch))
            except BumpError as error:
                broken += 1
                click.echo(str(error), err=True)
    sys.exit(1 if broken else 0)


@main.command("index")
def index_wheelhouse() -> None:
    """Write the index of the wheelhouse anew from its wheels."""
    write_index(ROOT / WHEELHOUSE)
    for wheel in read_wheelhouse(ROOT / WHEELHOUSE):
        click.echo(f"{wheel.sha256}  {wheel.path.name}")


@main.command("rebuild", epilog="Example:\n\n  just rebuild model-zoo-v0.1.0")
@click.argument("tag")
def rebuild_release(tag: str) -> None:
    """Build the released wheel of TAG again and compare it with the one in the wheelhouse, byte for byte."""
    wheel = rebuild(ROOT, tag, ROOT / WHEELHOUSE)
    click.echo(f"{wheel.sha256}  {wheel.path.name}")


def _report(package: Package, scratch: Path) -> None:
    click.echo(f"{package.name} {package.version}")
    wheel = build_wheel(package.folder, scratch, epoch=commit_time(package.root))
    for change in check_bump(package, package.version, wheel, _say):
        click.echo(f"  {change}")


def _say(text: str) -> None:
    click.echo(f"- {text}")


if __name__ == "__main__":
    try:
        main(prog_name="just")
    except ReleaseError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(1)
