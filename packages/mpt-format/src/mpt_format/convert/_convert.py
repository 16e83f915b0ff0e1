"""`convert_checkpoint`: a foreign checkpoint in, an `.mpt` or a safetensors file out, without executing a byte of it.

The order is the argument: audit, find the state dict, rename keys, plan bytes and aliases, turn the rest into JSON,
refuse everything that has no form (all of it, with paths, before anything is written), write, verify every tensor by
digest against the source, audit the output. The kind, the config and the game rules are written as the caller gives
them; whether the model code accepts them is the loader's judgement.
"""

from __future__ import annotations

__all__ = ["Conversion", "convert_checkpoint"]

import filecmp
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mpt_format.audit._audit import audit_checkpoint, audit_container, open_file
from mpt_format.audit._container import Container
from mpt_format.audit._containers import open_container
from mpt_format.audit._limits import Limits
from mpt_format.audit._machine import Buffer
from mpt_format.audit._nodes import Node
from mpt_format.audit._result import FileAudit
from mpt_format.content import ArchiveContent
from mpt_format.errors import ArchiveProblem, ArchiveWriteError, ConversionError, escape_text
from mpt_format.module_state import ModuleState
from mpt_format.opening import open_archive
from mpt_format.payload import TensorPayload
from mpt_format.records import CodeRecord, ModuleRecord
from mpt_format.replacing import sync_folder
from mpt_format.strict_json import Json
from mpt_format.writer import write_archive

from ._byte_files import open_byte_file
from ._key_map import KeyMap
from ._losses import Loss, check_text
from ._members import find_tensor_member, open_member, read_plain_documents
from ._plan import Plan, plan_tensors, read_numbers
from ._safetensors_file import read_tensor_digests, write_safetensors
from ._source import Source, SourceTensor, find_state, resolve_path
from ._tensor_bytes import RecordPayload
from ._trainer import Trainer, collect_trainer, read_slot_digests
from ._values import ValueConverter

_LIMITS = Limits(inflated_size_bytes=8 << 30)
_SHOWN = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What was written.

    Attributes:
        path: The output.
        size_bytes: Its size.
        state_path: Where the state dict was in the source.
        tensors: New key -> old key of every tensor, aliases included.
        aliases: How many of them share the bytes of another.
        slots: Member of the folder `trainer/` -> how many tensors of an optimizer it holds.
        losses: What the output says differently, or not at all.
        digests: New key -> sha256 of the tensor's bytes, the same in source and output.
        source_verdict: What the audit says of the source.
        audit: The audit of the output.
    """

    path: Path
    size_bytes: int
    state_path: str
    tensors: Mapping[str, str]
    aliases: int
    losses: tuple[Loss, ...]
    digests: Mapping[str, str]
    source_verdict: str
    audit: FileAudit
    slots: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The conversion as JSON values."""
        return {
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "state_path": self.state_path,
            "tensors": dict(self.tensors),
            "aliases": self.aliases,
            "slots": dict(self.slots),
            "losses": [loss.to_json() for loss in self.losses],
            "digests": dict(self.digests),
            "source_verdict": self.source_verdict,
            "verdict": self.audit.verdict,
        }


def convert_checkpoint(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    architecture: Mapping[str, Json] | None = None,
    game_rules: Mapping[str, Json] | None = None,
    code: CodeRecord | None = None,
    state_path: str | None = None,
    key_map: KeyMap | None = None,
    as_fields: bool = False,
    timestamps: bool = False,
    drop: Sequence[str] = (),
    weights_only: bool = False,
    drop_if_there: Sequence[str] = (),
) -> Conversion:
    """Convert a foreign checkpoint; nothing in it is executed or imported.

    Args:
        path: torch zip, legacy file, Lightning, stable-baselines3 zip, TorchScript archive, plain pickle of such,
            safetensors, or an `.mpt` (today's or the predecessor's).
        output: `*.safetensors` for the tensors alone, else an `.mpt`.
        architecture: `kind`, `schema_version` and `config` for policy_architecture.yaml, as the author of the model
            code would write them.
        game_rules: The document of the game rules.
        code: The model code that the architecture belongs to.
        state_path: Where the state dict is, as in `root['model_state_dict']`; None searches. Of a mapping that holds
            several, such as `root`, all are taken, under the keys that lead to them.
        key_map: How keys are renamed.
        as_fields: Whether objects of unknown classes become dicts of their fields.
        timestamps: Whether datetimes become numbers.
        drop: Paths to leave out; one that leads nowhere is refused.
        weights_only: Whether everything beside the state dict is left out.
        drop_if_there: Paths to leave out where they are: for many files that do not all hold the same.

    Returns:
        What was written, and what was lost.

    Raises:
        AuditError: The file cannot be read.
        ConversionError: It is malformed, or something in it has no form in the output; every offender is named.
        MptError: The output cannot be written or a given document is not strict.
    """
    name = os.fspath(path)
    target = Path(output)
    with open_file(name) as data:
        container = open_container(data, _LIMITS)
        audit = audit_container(container, name=name, size_bytes=len(data), limits=_LIMITS)
        if audit.verdict in ("malformed", "notckpt"):
            reasons = "; ".join(f.hint for f in audit.findings if f.severity == "malformed") or audit.description
            raise ConversionError(f"{escape_text(name)} is {audit.verdict}: {reasons}", verdict=audit.verdict)
        inside, holder = open_byte_file(container, state_path, _LIMITS) or (data, container)
        values = ValueConverter(
            as_fields=as_fields,
            timestamps=timestamps,
            drop=frozenset((*drop, *drop_if_there)),
            read_numbers=partial(read_numbers, inside, holder),
        )
        source, root, buffer = _read_source(inside, holder, state_path)
        described = _tell_compounds(source, values)
        renamed = _rename(source, key_map, values)
        plan = plan_tensors(buffer, holder, renamed)
        for at, dtype, kept in plan.carried:
            values.lose(at, f"a tensor of {dtype}", f"the same bytes as {kept}")
        extra = _extra_state(source, values)
        _leave_out_state(root, source, values)
        keeps_trainer = not weights_only and target.suffix != ".safetensors"
        trainer = _trainer(inside, holder, root, source, renamed, values) if keeps_trainer else Trainer()
        rest = None if weights_only else _rest(data, container, root, source, trainer, values)
        values.tell_left_out()
        if weights_only and root is not None and (source.path != "root" or source.parts):
            values.lose("root", "everything beside the state dict", "left out, as asked")
        _refuse(name, source.path, plan, values, drop)
        digests = _digest_all(plan.every)
        slots = {f"trainer/{member}.safetensors": _digest_all(tensors) for member, tensors in trainer.tensors.items()}
        account = _account(name, data, container, source, values.losses)
        if described:
            account["tensor_parts"] = described
        with _put_in_place(target) as written:
            if target.suffix == ".safetensors":
                _write_safetensors(written, plan, account, extra, rest)
            else:
                state = _module_state(plan, source, renamed, extra)
                content = ArchiveContent(
                    state=state,
                    architecture=architecture,
                    game_rules=game_rules,
                    code=code,
                    lineage={"conversion": dict(account)},
                    training_document=None if rest is None else {"converted_from": rest},
                    trainer_tensors=trainer.tensors,
                    trainer_documents=trainer.documents,
                )
                write_archive(written, content)
            _verify(written, plan, digests, slots, target)
            after = replace(audit_checkpoint(written), file=str(target))
            if after.verdict != "ok":
                raise ConversionError(
                    f"{escape_text(str(target))} was audited as {after.verdict} after writing and was not kept"
                )
    return Conversion(
        path=target,
        size_bytes=target.stat().st_size,
        state_path=source.path,
        tensors={new: tensor.key for new, tensor in renamed.items()},
        aliases=len(plan.aliases),
        losses=tuple(values.losses),
        digests=digests,
        source_verdict=audit.verdict,
        audit=after,
        slots={f"trainer/{member}": len(trainer.tensors.get(member, ())) for member in trainer.documents},
    )


@contextmanager
def _put_in_place(target: Path) -> Iterator[Path]:
    """Where to write what is not verified yet: beside the target, which it replaces when the block is left in peace.

    The name is one of its own, so that two who make one target never verify each other's bytes.
    """
    unverified = target.with_name(f".{target.name}.{secrets.token_hex(6)}.unverified{target.suffix}")
    stood_there = os.path.lexists(target)
    try:
        yield unverified
        if stood_there or not _link(unverified, target):
            unverified.replace(target)
        sync_folder(target.parent)
    except ArchiveWriteError as error:  # told of the path that was asked for
        raise ArchiveWriteError(str(target), error.problems, error.errno) from error
    except OSError as error:
        problem = ArchiveProblem(where="file system", message=error.strerror or type(error).__name__)
        raise ArchiveWriteError(str(target), [problem], error.errno) from error
    finally:
        unverified.unlink(missing_ok=True)


def _link(written: Path, target: Path) -> bool:
    """Give a file a second name that nothing has yet; tell whether the file system knows such names.

    Raises:
        ConversionError: Another process made the target meanwhile, with other content.
    """
    try:
        os.link(written, target)
    except FileExistsError:
        if filecmp.cmp(written, target, shallow=False):
            return True
        raise ConversionError(
            f"{escape_text(str(target))} was made by another process meanwhile and holds something else: "
            f"choose another output"
        ) from None
    except OSError:  # whatever a file system without such names answers; where more is wrong, a replacement says it
        return False
    return True


def _read_source(data: Buffer, container: Container, state_path: str | None) -> tuple[Source, Node | None, Buffer]:
    if container.without_pickle:
        source, buffer = find_tensor_member(data, container, _LIMITS)
        return source, None, buffer
    source, root = find_state(container, state_path)
    return source, root, data


def _tell_compounds(source: Source, values: ValueConverter) -> dict[str, Json]:
    """Key -> what a tensor was whose parts are kept instead of it, and what it said of itself beside them."""
    described: dict[str, Json] = {}
    for key, compound in source.compounds:
        if values.is_dropped(compound.path):
            gone = {path for _, path, _ in compound.parts}
            source.tensors = [tensor for tensor in source.tensors if tensor.path not in gone]
            continue
        told: dict[str, Json] = {name: values.convert(value, path) for name, path, value in compound.attributes}
        names: list[Json] = [f"{key}.{name}" for name, _, _ in compound.parts]
        described[key] = {"was": compound.described, "parts": names, "attributes": told}
        values.lose(compound.path, compound.described, f"its parts {', '.join(map(str, names))}")
    return described


def _rename(source: Source, key_map: KeyMap | None, values: ValueConverter) -> dict[str, SourceTensor]:
    kept: dict[str, SourceTensor] = {}
    for tensor in source.tensors:
        if values.is_dropped(tensor.path):
            continue
        if tensor.key in kept:
            values.refusals.append((tensor.path, "its key stands twice in the state dict"))
        kept[tensor.key] = tensor
    if key_map is None:
        return kept
    renamed, dropped, problems = key_map.apply(kept)
    for key, reason in dropped.items():
        values.lose(kept[key].path, "a tensor", f"dropped by the key map: {reason}")
    values.refusals.extend((source.path, problem) for problem in problems)
    return {new: kept[old] for old, new in renamed.items()}


def _extra_state(source: Source, values: ValueConverter) -> dict[str, Json]:
    extra: dict[str, Json] = {}
    for key, path, node in source.others:
        if values.is_dropped(path):
            continue
        if key.rpartition(".")[2] != "_extra_state":
            values.refusals.append((path, "an entry of the state dict that is neither tensor nor extra state: drop it"))
            continue
        extra[key] = values.convert(node, path)
    return extra


def _leave_out_state(root: Node | None, source: Source, values: ValueConverter) -> None:
    """The state dict is written elsewhere; where it is the whole object there is nothing beside it."""
    if root is not None and (source.path != "root" or source.parts):
        for path in source.parts or [source.path]:
            values.leave_out(resolve_path(root, path))


def _trainer(
    data: Buffer,
    container: Container,
    root: Node | None,
    source: Source,
    renamed: Mapping[str, SourceTensor],
    values: ValueConverter,
) -> Trainer:
    """The optimizers beside the state dict; of a stable-baselines3 zip the one in its own member."""
    if root is None:
        return Trainer()
    if container.kind == "sb3-zip":
        inner = open_member(data, container, "policy.optimizer.pth", _LIMITS)
        candidate = None if inner is None else inner[1].get_root()
        if inner is None or candidate is None or not candidate.stream.complete:
            return Trainer()
        node, path = candidate.stream.root, "policy.optimizer.pth"
        return collect_trainer(*inner, node, source, renamed, values, path=path)
    if source.path == "root" and not source.parts:
        return Trainer()
    return collect_trainer(data, container, root, source, renamed, values)


def _rest(
    data: Buffer, container: Container, root: Node | None, source: Source, trainer: Trainer, values: ValueConverter
) -> Json:
    """Everything beside the state dict, as JSON; tensors in it are left out and listed."""
    documents = read_plain_documents(data, container, _LIMITS, values)
    if root is None or (source.path == "root" and not source.parts):
        return documents or None
    for node in trainer.nodes:
        values.leave_out(node)
    converted = values.convert(root, "root")
    if documents:
        return {**documents, "root": converted}
    return converted


def _refuse(name: str, state_path: str, plan: Plan, values: ValueConverter, drop: Sequence[str]) -> None:
    problems = [*plan.problems, *values.refusals]
    problems.extend((path, "there is nothing to drop at this path") for path in drop if path not in values.dropped)
    if not problems and not plan.every:
        problems.append(("root", "no tensor is left to write"))
    if problems:
        lines = "".join(f"\n  {escape_text(path)}: {escape_text(reason)}" for path, reason in problems[:_SHOWN])
        more = f"\n  ... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ConversionError(
            f"{escape_text(name)} cannot be converted as it is:{lines}{more}{_next_step(state_path, problems)}",
            refusals=problems,
        )


def _next_step(state_path: str, problems: Sequence[tuple[str, str]]) -> str:
    """What gets past the refusals that were just listed."""
    paths = [path for path, _ in problems]
    if state_path != "root" and not any(path.startswith(state_path) for path in paths):
        return f"\nall of it stands beside the state dict {escape_text(state_path)}: --weights-only leaves it out"
    if all("--as-fields" in reason for _, reason in problems):
        return "\nto keep their fields: --as-fields"
    example = next((path for path in paths if path != "root"), None)
    return "" if example is None else f'\nto leave one out: --drop "{escape_text(example)}"'


def _digest_all(payloads: Mapping[str, TensorPayload]) -> dict[str, str]:
    """Name -> digest; tensors that are the same bytes of the source are read once."""
    known: dict[object, str] = {}
    digests = {}
    for name, payload in payloads.items():
        place = payload.place if isinstance(payload, RecordPayload) else id(payload)
        if place not in known:
            known[place] = _digest(payload)
        digests[name] = known[place]
    return digests


def _digest(payload: TensorPayload) -> str:
    digest = hashlib.sha256()
    for piece in payload.pieces():
        digest.update(piece)
    return digest.hexdigest()


def _account(name: str, data: Buffer, container: Container, source: Source, losses: Sequence[Loss]) -> dict[str, Json]:
    digest = hashlib.sha256()
    for at in range(0, len(data), 8 << 20):
        digest.update(data[at : at + (8 << 20)])
    return {
        "source": {
            "name": check_text(Path(name).name),
            "size_bytes": len(data),
            "sha256": digest.hexdigest(),
            "container": container.kind,
            "state_path": source.path,
        },
        "losses": [loss.to_json() for loss in losses],
    }


def _write_safetensors(
    target: Path, plan: Plan, account: Mapping[str, Json], extra: Mapping[str, Json], rest: Json
) -> None:
    aliases: dict[str, Json] = {alias.name: alias.canonical for alias in plan.aliases.values() if alias.view is None}
    views: list[Json] = [alias.name for alias in plan.aliases.values() if alias.view is not None]
    kept = {name: payload for name, payload in plan.every.items() if name not in aliases}
    document: dict[str, Json] = {**account, "aliases": aliases, "copied_views": views}
    if extra:
        document["extra_state"] = dict(extra)
    if rest is not None:
        document["rest"] = rest
    write_safetensors(target, kept, document)


def _module_state(
    plan: Plan, source: Source, renamed: Mapping[str, SourceTensor], extra: Mapping[str, Json]
) -> ModuleState:
    same_names = all(new == tensor.key for new, tensor in renamed.items())
    modules = {
        prefix: ModuleRecord(type="unknown", version=version)
        for prefix, version in (source.versions if same_names else {}).items()
    }
    return ModuleState(tensors=plan.stored, aliases=plan.aliases, modules=modules, extra_state=dict(extra))


def _shown_by(plan: Plan, name: str, data: bytes) -> RecordPayload:
    """What an alias shows of the tensor that was stored."""
    view, item = plan.aliases[name].view, plan.every[name]
    assert view is not None and isinstance(item, RecordPayload)
    return RecordPayload(
        source=data,
        dtype=view.dtype,
        shape=view.shape,
        stride=view.stride,
        start=view.offset_bytes,
        item_size_bytes=item.item_size_bytes,
    )


def _verify(
    written: Path, plan: Plan, digests: Mapping[str, str], slots: Mapping[str, Mapping[str, str]], target: Path
) -> None:
    """Read the output back and compare every tensor with the source, bit by bit through its digest."""
    wrong: list[str] = []
    if written.suffix == ".safetensors":
        found = read_tensor_digests(written)
        for name, digest in digests.items():
            alias = plan.aliases.get(name)
            stored = alias.canonical if alias is not None and alias.view is None else name
            if found.get(stored) != digest:
                wrong.append(name)
    else:
        with open_archive(written) as archive:
            archive.verify("full")
            recorded = {name: record.sha256 for name, record in archive.tensors.items()}  # of what was just read
            views: dict[str, list[str]] = {}
            for name, digest in digests.items():
                alias = plan.aliases.get(name)
                if alias is not None and alias.view is not None:
                    views.setdefault(alias.canonical, []).append(name)
                elif recorded[name if alias is None else alias.canonical] != digest:
                    wrong.append(name)
            for canonical, names in views.items():
                data = archive.read_tensor_bytes(canonical)
                shown = {name: _shown_by(plan, name, data) for name in names}
                wrong += [name for name, digest in _digest_all(shown).items() if digest != digests[name]]
            for member, expected in slots.items():
                kept = read_slot_digests(archive, member)
                wrong += [f"{member}: {name}" for name in expected if kept.get(name) != expected[name]]
    if wrong:
        differing = ", ".join(wrong[:10])
        raise ConversionError(f"{escape_text(str(target))} would differ from its source in {differing}: not kept")
