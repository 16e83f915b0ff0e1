"""`mpt convert`: a foreign checkpoint into an `.mpt` or a safetensors file, without executing a byte of it.

Many files go into a folder, one after the other; what failed is told and does not stop the rest.

Exit codes: 0 written and verified, 1 refused, 2 usage. Never imports torch.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter, deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mpt_format.cli.files import Unreadable, expand_paths, tell_apart
from mpt_format.cli.output import print_json, print_json_items, print_table, size_text
from mpt_format.errors import ConversionError, MalformedDocumentError, escape_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mpt_format.convert import Conversion, KeyMap
    from mpt_format.convert._batch import Convert
    from mpt_format.convert._losses import Loss
    from mpt_format.records import CodeRecord

_SHOWN = 20
_FILE = click.Path(exists=True, dir_okay=False)


@click.command()
@click.argument("path", metavar="PATH", type=click.Path())
@click.argument("further", nargs=-1, metavar="[PATH]...", type=click.Path())
@click.option("--kind", metavar="NAME", help="Kind of the policy architecture, as in mlp_actor_critic.")
@click.option(
    "--schema-version", type=click.IntRange(min=1), metavar="NUMBER", help="Version of the kind's config schema."
)
@click.option("--config", type=_FILE, metavar="FILE", help="YAML: the config, or a whole policy_architecture.yaml.")
@click.option("--rules", type=_FILE, metavar="FILE", help="JSON: the game rules.")
@click.option("--code", metavar="NAME==VERSION", help="The distribution that the kind belongs to.")
@click.option("--wheel", type=_FILE, metavar="FILE", help="The wheel of that distribution: pins it by digest.")
@click.option("--state-path", metavar="PATH", help="Where the state dict is, as in \"root['model_state_dict']\".")
@click.option(
    "--map",
    "map_name",
    type=click.Path(),
    metavar="FILE_OR_NAME",
    help="Rules that rename keys: a YAML file, or the name of a shipped one, as in sb3_ppo_mlp.",
)
@click.option("--as-fields", is_flag=True, help="Keep objects of unknown classes as dicts of their fields.")
@click.option("--timestamps", is_flag=True, help="Keep datetimes as seconds instead of ISO 8601 text.")
@click.option(
    "--drop",
    multiple=True,
    metavar="PATH",
    help="Leave out what is at this path; may be repeated. With --into: where there is such a path.",
)
@click.option("--weights-only", is_flag=True, help="Leave out everything beside the state dict.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="For one checkpoint: *.safetensors, else an .mpt.",
)
@click.option(
    "--into",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="For many files, folders and globs; goes on where it stopped.",
)
@click.option("--as", "form", type=click.Choice(["mpt", "safetensors"]), default="mpt", help="What --into writes.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def convert(
    path: str,
    output: str | None,
    kind: str | None,
    schema_version: int | None,
    config: str | None,
    rules: str | None,
    code: str | None,
    wheel: str | None,
    state_path: str | None,
    map_name: str | None,
    as_fields: bool,
    timestamps: bool,
    drop: tuple[str, ...],
    weights_only: bool,
    as_json: bool,
    further: tuple[str, ...] = (),
    folder: Path | None = None,
    form: str = "mpt",
) -> None:
    """Convert foreign checkpoints; nothing in them is executed.

    PATH is a file; with --into also a folder or a glob. Exit code 0: written, 1: refused, or one of many was.

    \b
    Examples:
      mpt convert old.pt -o weights.safetensors
      mpt convert model.zip -o run.mpt --kind mlp_actor_critic --schema-version 2 \\
          --config config.yaml --rules rules.json --map sb3_ppo_mlp --wheel model_zoo-0.2.0-py3-none-any.whl
      mpt convert resume.pt -o run.mpt --state-path "root['agent']"
      mpt convert runs/ 'old/**/*.pt' --into converted/ --weights-only
    """  # noqa: D301
    from mpt_format.convert import convert_checkpoint

    if (output is None) == (folder is None):
        raise click.UsageError("give -o FILE for one checkpoint, or --into FOLDER for many")
    convert_one = partial(
        convert_checkpoint,
        architecture=_read_architecture(kind, schema_version, config),
        game_rules=_read_rules(rules),
        code=_read_code(code, wheel),
        state_path=state_path,
        key_map=_read_map(map_name),
        as_fields=as_fields,
        timestamps=timestamps,
        weights_only=weights_only,
    )
    if folder is not None:
        drop_where_it_is = partial(convert_one, drop_if_there=drop)
        _convert_many((path, *further), folder, f".{form}", drop_where_it_is, drop, as_json)
        return
    assert output is not None
    if further:
        raise click.UsageError("-o takes one checkpoint; use --into FOLDER for many")
    done = convert_one(path, output, drop=drop)
    if as_json:
        print_json(done.to_json())
    else:
        _print(done)


def _convert_many(
    paths: tuple[str, ...], folder: Path, suffix: str, convert_one: Convert, drop: tuple[str, ...], as_json: bool
) -> None:
    from mpt_format.convert._batch import STATUSES, BatchItem, convert_many, group_failures
    from mpt_format.convert._losses import LossCounts

    unreadable: list[Unreadable] = []
    results = folder.resolve()
    found = expand_paths(paths, unreadable)
    files = tell_apart(one for one in found if results not in Path(one[0]).resolve().parents)
    if not files and not unreadable:
        raise click.UsageError(f"No file matches {', '.join(escape_text(path) for path in paths)}.")
    told = Counter({"failed": len(unreadable)})
    rows: list[tuple[object, ...]] = []
    failures: list[BatchItem] = []
    losses = LossCounts()
    dropped_nowhere = set(drop)
    for _, error in unreadable:
        click.echo(f"mpt: {error}", err=True)

    def tell() -> Iterator[dict[str, Any]]:
        for at, item in enumerate(convert_many(files, folder, suffix=suffix, convert=convert_one), 1):
            reason = f": {item.error}" if item.status == "failed" else ""
            click.echo(f"[{at}/{len(files)}] {escape_text(str(item.source))}: {item.status}{reason}", err=True)
            told[item.status] += 1
            done = item.conversion
            tensors = "" if done is None else len(done.tensors)
            lost = len(item.losses) if item.status in ("converted", "done before") else ""
            rows.append((item.status, tensors, lost, item.source if done is None else item.target))
            losses.add(item.losses)
            if item.status == "failed":
                failures.append(item)
            if done is not None:
                dropped_nowhere.difference_update(loss.path for loss in done.losses)
            yield item.to_json()

    if as_json:
        print_json_items(tell())
    else:
        deque(tell(), maxlen=0)
        print_table(("status", "tensors", "losses", "file"), rows)
        _print_loss_counts(losses.ranked())
        _print_failures(group_failures(failures))
        click.echo("\n" + ", ".join(f"{told[status]} {status}" for status in STATUSES if told[status]))
    for path in sorted(dropped_nowhere) if told["converted"] else ():
        click.echo(f"mpt: --drop {escape_text(path)} was in none of the files that were converted", err=True)
    if failures and failures[-1].stops:
        click.echo(f"mpt: stopped, {len(files) - len(rows)} files not tried: {escape_text(str(folder))} takes no more; "
                   "make room and run the same command again, it goes on from here", err=True)  # fmt: skip
    if told["failed"]:
        sys.exit(1)


def _print_loss_counts(counted: list[tuple[int, Loss]]) -> None:
    """What outputs say differently, or no longer: each once, with in how many of them."""
    if counted:
        click.echo("\nwhat is said differently, or no longer, and in how many files:")
    for count, loss in counted[:_SHOWN]:
        told = f"{escape_text(loss.path)}: {escape_text(loss.was)} -> {escape_text(loss.became)}"
        click.echo(f"{count:>6}  {told}")
    if len(counted) > _SHOWN:
        click.echo(f"        ... and {len(counted) - _SHOWN} more (mpt inspect --losses lists those of one archive)")


def _print_failures(groups: list[tuple[str, list[Path]]]) -> None:
    """Why files failed: one reason once, with how many files it holds for and one of them."""
    if groups:
        click.echo("\nwhy they failed:")
    for reason, sources in groups[:_SHOWN]:
        first, *below = reason.splitlines()
        example = escape_text(str(sources[0]))
        click.echo(f"{len(sources):>6}  {escape_text(first)}")
        for line in (*below, f"as {example}"):
            click.echo(f"        {escape_text(line)}")
    if len(groups) > _SHOWN:
        rest = sum(len(sources) for _, sources in groups[_SHOWN:])
        click.echo(f"        ... and {rest} files for {len(groups) - _SHOWN} further reasons (stderr has them all)")


def _read_architecture(kind: str | None, schema_version: int | None, config: str | None) -> dict[str, Any] | None:
    from mpt_format.strict_yaml import parse_yaml

    document: Any = {}
    if config is not None:
        document = _parse(parse_yaml, config, "--config")
        if not isinstance(document, dict):
            raise ConversionError(f"{escape_text(config)}: expected a mapping")
    if "config" not in document or not isinstance(document["config"], dict):
        document = {"config": document}
    if kind is not None:
        document["kind"] = kind
    if schema_version is not None:
        document["schema_version"] = schema_version
    if "kind" not in document:
        if config is not None:
            raise ConversionError("a config needs a kind: pass --kind")
        return None
    document.setdefault("schema_version", 1)
    return {"kind": document["kind"], "schema_version": document["schema_version"], "config": document["config"]}


def _parse(parse: Callable[..., Any], path: str, option: str) -> Any:
    """Read a document that the user wrote: what is wrong with it is told of the option, not of an archive."""
    try:
        return parse(Path(path).read_bytes(), subject=path)
    except MalformedDocumentError as error:
        reasons = "; ".join(problem.message for problem in error.problems)
        raise ConversionError(f"{option} {escape_text(path)}: {reasons}") from None


def _read_rules(path: str | None) -> dict[str, Any] | None:
    if path is None:
        return None
    from mpt_format.strict_json import parse_json

    document = _parse(parse_json, path, "--rules")
    if not isinstance(document, dict):
        raise ConversionError(f"{escape_text(path)}: expected a JSON object")
    return document


def _read_code(code: str | None, wheel: str | None) -> CodeRecord | None:
    from mpt_format.records import CodeRecord

    digest = None
    if wheel is not None:
        parts = Path(wheel).name.removesuffix(".whl").split("-")
        if len(parts) not in (5, 6) or not wheel.endswith(".whl"):
            raise ConversionError(f"{escape_text(wheel)} is not named like a wheel")
        with Path(wheel).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        code = code or f"{parts[0].replace('_', '-')}=={parts[1]}"
    if code is None:
        return None
    name, separator, version = code.partition("==")
    if not separator or not name or not version:
        raise ConversionError(f"--code {escape_text(code)}: expected NAME==VERSION")
    return CodeRecord(distribution=name, version=version, wheel_sha256=digest)


def _read_map(name: str | None) -> KeyMap | None:
    if name is None:
        return None
    from mpt_format.convert import find_shipped_map, parse_key_map, shipped_maps

    shipped = find_shipped_map(name)
    if shipped is not None:
        return shipped
    if not Path(name).is_file():
        raise ConversionError(f"no rules file {escape_text(name)}; shipped ones: {', '.join(shipped_maps())}")
    return parse_key_map(Path(name).read_bytes(), name=name)


def _print(done: Conversion) -> None:
    click.echo(f"{escape_text(str(done.path))}: {size_text(done.size_bytes)}, {len(done.tensors)} tensors "
               f"({done.aliases} share bytes), every one verified against the source")  # fmt: skip
    click.echo(
        f"state dict: {escape_text(done.state_path)}; source: {done.source_verdict}; output: {done.audit.verdict}"
    )
    for member, count in done.slots.items():
        click.echo(f"optimizer: {escape_text(member)}, {count} tensors, every one verified against the source")
    if done.losses:
        subject = "1 thing is" if len(done.losses) == 1 else f"{len(done.losses)} things are"
        click.echo(f"{subject} said differently, or no longer:")
        lines = list(_loss_lines(done))
        for line in lines[:_SHOWN]:
            click.echo(f"  {line}")
        if len(lines) > _SHOWN:
            click.echo(f"  ... and {len(lines) - _SHOWN} more (--json lists all; the archive keeps them)")


def _loss_lines(done: Conversion) -> Iterator[str]:
    """One line for a loss, or for all that differ in nothing but their path."""
    alike: dict[tuple[str, str], list[str]] = {}
    for loss in done.losses:
        alike.setdefault((loss.was, loss.became), []).append(loss.path)
    for (was, became), paths in alike.items():
        further = f" and {len(paths) - 1} more like it" if len(paths) > 1 else ""
        yield f"{escape_text(paths[0])}{further}: {escape_text(was)} -> {escape_text(became)}"
