"""What `mpt zoo add` does with an archive, wheels and a repository; what is about to be built is said before."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
from mpt_format.errors import escape_text

if TYPE_CHECKING:
    from mpt_format import CodeRecord

    from app_loader.settings import Settings
    from app_loader.sources import PinnedCompanion
    from app_loader.store import Entry, Store

_CHANGED = re.compile(rb"^\+\+\+ \"?b/(.*?)\"?$", re.MULTILINE)
_STEERS_THE_BUILD = frozenset({"pyproject.toml", "setup.py", "setup.cfg", "hatch_build.py", "build.py"})


def add_pinned(
    opened: Store,
    settings: Settings,
    source: str,
    companions: tuple[str, ...],
    from_source: bool,
    repository: str | None,
    accept_digest: str | None,
) -> Entry:
    """Add the code that an archive pins."""
    from app_loader.sources import add_archive

    record, diff, pinned = _read_archive(Path(source))
    if from_source and record.commit is not None:
        _say_build(record, diff, repository, settings)
    return add_archive(
        opened,
        record,
        settings,
        diff=diff,
        from_source=from_source,
        repository=repository,
        accept_digest=accept_digest,
        archive=source,
        pinned=pinned,
        companions=companions,
    )


def add_files(opened: Store, path: Path, companions: tuple[str, ...], sha256: str | None) -> list[Entry]:
    """Add a wheel, or each wheel of a folder."""
    from app_loader.sources import add_wheels

    wheels = _wheel_files(companions)
    mains = [path] if path.suffix == ".whl" else sorted(path.glob("*.whl"))
    if len(mains) > 1 and (companions or sha256):
        raise click.UsageError("with a folder, each wheel is an entry of its own: --with and --sha256 need one wheel")
    return [add_wheels(opened, [main, *wheels], sha256=sha256) for main in mains]


def add_checkout(
    opened: Store,
    settings: Settings,
    source: str,
    companions: tuple[str, ...],
    commit: str | None,
    subdirectory: str | None,
) -> Entry:
    """Add what a repository holds at a commit."""
    from app_loader.sources import add_repository

    if commit is None:
        raise click.UsageError("a repository needs --commit: a commit, tag or branch")
    wheels = _wheel_files(companions)
    return add_repository(opened, source, commit, settings, subdirectory=subdirectory, companions=wheels)


def _wheel_files(companions: tuple[str, ...]) -> list[Path]:
    """Return the wheels that stand behind `--with`; a requirement there would be looked up by nothing."""
    if not all(text.endswith(".whl") for text in companions):
        raise click.UsageError("with a wheel or a repository, --with takes wheel files")
    return [Path(text) for text in companions]


def _read_archive(path: Path) -> tuple[CodeRecord, bytes | None, list[PinnedCompanion]]:
    """Return what an archive says of its code, the difference of its source, and the companions that it pins."""
    from mpt_format import open_archive

    from app_loader.errors import ProvenanceError
    from app_loader.sources import PinnedCompanion

    with open_archive(path) as archive:
        archive.verify("full")  # the difference is about to be applied and built
        record = archive.manifest.code
        if record is None:
            raise ProvenanceError(str(path), ["it records no code"], "mpt zoo add WHEEL")
        diff = archive.read_member(record.diff_member) if record.diff_member else None
        listed = archive.manifest.requires.get("companions")
    pinned = [
        PinnedCompanion(
            distribution=str(each.get("distribution")),
            version=str(each.get("version")),
            sha256=str(each.get("wheel_sha256")),
        )
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict)
    ]
    return record, diff, pinned


def _say_build(record: CodeRecord, diff: bytes | None, repository: str | None, settings: Settings) -> None:
    """Say what is about to be built, on the way of errors: building runs code of the repository and of the archive."""
    from app_loader.credentials import strip_credentials

    place = strip_credentials(repository or settings.find_moved(record.repository or "no repository"))
    what = f"{record.distribution} {record.version} from {place} at {(record.commit or '')[:12]}"
    click.echo(f"building {escape_text(what)}", err=True)
    if diff:
        changed = sum(line.startswith(b"diff --git ") for line in diff.split(b"\n"))
        click.echo(f"  with the archive's own difference: {changed} files, {len(diff)} bytes", err=True)
        names = [name.decode("utf-8", "replace") for name in _CHANGED.findall(diff)]
        steering = [name for name in names if name.rpartition("/")[2] in _STEERS_THE_BUILD]
        if steering:
            click.echo(f"  which changes how it is built: {escape_text(', '.join(steering))}", err=True)
