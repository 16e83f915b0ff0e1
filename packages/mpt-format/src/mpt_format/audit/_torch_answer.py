"""What each torch version would say to a file: the container's own refusal, then the pickle's first refused event.

Answers for `torch.load(file, map_location="cpu", weights_only=True)`.

Source: `torch/serialization.py` (`load`, `_load`, `_legacy_load`).
"""

from __future__ import annotations

__all__ = ["ask_torch", "describe_allowlist", "describe_members"]

from collections.abc import Set as AbstractSet
from functools import cache, partial

from ._container import Candidate, Container, RecordProblem
from ._hints import describe_versions, needed_names
from ._nodes import Call, Global
from ._result import TorchAnswer
from ._summary import Summary
from ._torch_rules import find_refusal
from ._torch_table import Rules, load_rules


def ask_torch(container: Container, named_safetensors: bool) -> dict[str, TorchAnswer]:
    """The answer of every torch release in the table, oldest first; keyed by minor version."""
    root = container.get_root()
    missing = None
    if root is not None and container.kind == "torch-zip":
        missing = _find_missing(
            root.get_summary(container.storage_fields), container.storages.keys() | container.packed.keys()
        )
    asked: dict[int, TorchAnswer] = {}
    answers: dict[str, TorchAnswer] = {}
    for version, rules in _distinct_rules().items():
        if id(rules) not in asked:
            asked[id(rules)] = _ask(container, rules, named_safetensors, missing)
        answers[version] = asked[id(rules)]
    return answers


@cache
def _distinct_rules() -> dict[str, Rules]:
    """Minor version -> the rules of the oldest release that answers like it."""
    first: dict[object, Rules] = {}
    found = {}
    for version, rules in load_rules().items():
        key = (
            rules.opcodes,
            tuple(rules.allowed),
            rules.set_item_types,
            rules.appends_to_subclasses,
            rules.safetensors_by_name,
            rules.exact_records,
        )
        found[".".join(version.split(".")[:2])] = first.setdefault(key, rules)
    return found


def _ask(container: Container, rules: Rules, named_safetensors: bool, missing: tuple[int, str] | None) -> TorchAnswer:
    if container.kind == "safetensors":
        if container.problems:
            return TorchAnswer(loads=False, reason=container.problems[0])
        if named_safetensors and rules.safetensors_by_name:
            return TorchAnswer(loads=True)
        return TorchAnswer(loads=None, reason="not a torch.save file and no pickle: read it with safetensors")
    if container.without_pickle:
        return TorchAnswer(loads=None, reason="not a torch.save file and no pickle: read it with mpt_format")
    if container.not_checkpoint and not container.candidates:
        return TorchAnswer(loads=False, reason=f"not a checkpoint: {container.description}")
    if container.kind == "legacy":
        return _ask_streams(container.candidates, container, rules, None)
    if container.torch_refusal and container.kind != "pickle":
        return TorchAnswer(loads=False, reason=container.torch_refusal)
    root = container.get_root()
    if root is None:
        reason = container.problems[0] if container.problems else "it holds no object"
        return TorchAnswer(loads=False, reason=reason)
    answer = _ask_streams([root], container, rules, missing)
    if answer.loads and container.torch_refusal:
        return TorchAnswer(loads=False, reason=container.torch_refusal)
    return answer


def _ask_streams(
    candidates: list[Candidate], container: Container, rules: Rules, missing: tuple[int, str] | None
) -> TorchAnswer:
    for candidate in candidates:
        stream = candidate.stream
        summary = candidate.get_summary(container.storage_fields)
        storages = container.storages.keys() | container.packed.keys() if container.kind == "torch-zip" else None
        refusal = find_refusal(summary.suspects, rules, storages=storages, storage_fields=container.storage_fields)
        if missing is not None and (refusal is None or missing[0] < refusal.offset):
            return TorchAnswer(loads=False, reason=f"the record data/{missing[1][:40]} is not in the file")
        wrong = _find_wrong_record(container, rules) if candidate.root else None
        if wrong is not None and (refusal is None or wrong.offset < refusal.offset) and container.kind == "torch-zip":
            return TorchAnswer(loads=False, reason=wrong.describe())
        if refusal is not None:
            return TorchAnswer(loads=False, reason=refusal.reason)
        if wrong is not None:  # a legacy file's records are read last
            return TorchAnswer(loads=False, reason=wrong.describe())
        if not stream.complete:
            return TorchAnswer(loads=False, reason=stream.problem or stream.limit)
    if container.torch_refusal or (container.kind == "legacy" and len(candidates) < 5):
        return TorchAnswer(loads=False, reason=container.torch_refusal or "the file ends before its storages")
    if container.problems:
        return TorchAnswer(loads=False, reason=container.problems[0])
    return TorchAnswer(loads=True)


def _find_wrong_record(container: Container, rules: Rules) -> RecordProblem | None:
    """The first record whose length this torch version does not take."""
    if container.kind == "torch-zip" and not rules.exact_records:
        return None
    return next((problem for problem in container.record_problems if problem.size_bytes is not None), None)


def _find_missing(summary: Summary, storages: AbstractSet[str]) -> tuple[int, str] | None:
    """Where the first storage stands that the pickle names and the file does not have, and its key."""
    if summary.storages.keys() <= storages:
        return None
    missing = summary.storages.keys() - storages
    return min((summary.storages[key].offset, key) for key in missing)


def describe_members(container: Container) -> list[str]:
    """What torch says to the torch files inside a stable-baselines3 zip, which that library hands to it one by one."""
    said = []
    for candidate in container.candidates if container.kind == "sb3-zip" else ():
        if not candidate.name.endswith(".pth") or "!" in candidate.name:
            continue
        suspects = candidate.get_summary(container.storage_fields).suspects
        loading = [
            version
            for version, rules in load_rules().items()
            if candidate.stream.complete
            and find_refusal(suspects, rules, storage_fields=container.storage_fields) is None
        ]
        words = f"loads in torch {describe_versions(loading)}" if loading else "does not load"
        said.append(f"its member {candidate.name} {words} under weights_only=True")
    return said


def describe_allowlist(container: Container) -> str | None:
    """What allow-listing every name of the main pickle would achieve, asked of every version's rules."""
    root = container.get_root()
    if root is None or container.kind not in ("torch-zip", "legacy"):
        return None
    log = root.get_summary(container.storage_fields).suspects
    names = needed_names(event for event in log if isinstance(event, Global | Call))
    refuse = partial(find_refusal, log, storage_fields=container.storage_fields)
    loading = [v for v, rules in load_rules().items() if refuse(rules, also_allowed=frozenset(names)) is None]
    versions = list(load_rules())
    if all(refuse(rules) is None for rules in load_rules().values()):
        return None
    newest = refuse(load_rules()[versions[-1]], also_allowed=frozenset(names))
    missing = sorted(set(names) - set(load_rules()[versions[-1]].allowed))
    listed = ", ".join(missing[:12]) + (f" and {len(missing) - 12} more" if len(missing) > 12 else "")
    if newest is not None and newest.reason.startswith("Unsupported operand"):
        return f"allow-listing cannot help: {newest.reason}; save again with protocol 2"
    if not loading:
        assert newest is not None
        return f"allow-listing all of {listed} is a dead end: {newest.reason}"
    text = f"allow-listing {listed} makes torch {describe_versions(loading)} load it, if you trust those classes"
    if len(loading) < len(versions) and newest is not None:
        text += f"; newer torch still stops: {newest.reason}"
    return text
