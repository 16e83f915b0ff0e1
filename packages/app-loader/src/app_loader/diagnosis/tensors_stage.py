"""Stages keys, dimensions and modules together: the code is built on ``meta`` and held against an archive's tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policy_interface import GameRules, Policy, PolicyArchitecture
from policy_interface.errors import PolicyInterfaceError

from app_loader.build import build_on_meta
from app_loader.diagnosis.assumed import assume
from app_loader.diagnosis.explain import Sizes
from app_loader.diagnosis.finding import Finding
from app_loader.diagnosis.keys_stage import judge_dimensions, judge_keys, judge_modules, judge_wrapper
from app_loader.errors import BuildError, LoaderError
from app_loader.matching import Match, TensorInfo, match_tensors
from app_loader.revisions.signatures import module_signature
from app_loader.revisions.wrapper import find_wrapper


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """An archive's side: as it is, or at the end of the reviewed way.

    Attributes:
        document: kind, schema_version and config.
        tensors: the signature.
        tied: groups of keys that share one tensor.
        modules: module path to class name and torch's module version.
        rules: the rules that the policy was made for; None when they cannot be read.
        as_trained: whether the code is the one that it was trained with.
    """

    document: Mapping[str, Any]
    tensors: Sequence[TensorInfo]
    tied: Sequence[Sequence[str]]
    modules: Mapping[str, tuple[str, int | None]]
    rules: GameRules | None
    as_trained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorsSeen:
    """What the three stages found.

    Attributes:
        findings: of all three.
        skipped: why nothing could be looked at; empty when it could.
        new: the code's tensors.
        matches: one per tensor of the code.
    """

    findings: tuple[Finding, ...] = ()
    skipped: str = ""
    new: tuple[TensorInfo, ...] = ()
    matches: tuple[Match, ...] = ()


def judge_tensors(before: Before, cls: type[PolicyArchitecture], today: GameRules | None, subject: str) -> TensorsSeen:
    """Build the code's policy on ``meta`` and compare.

    Args:
        before: the archive's side.
        cls: the code's class.
        today: the rules to build for; None takes the archive's.
        subject: the code, for words.
    """
    try:
        architecture = cls.from_document(assume(before.document, cls).document)
        policy = _build(architecture, today, before.rules, subject)
    except (PolicyInterfaceError, LoaderError) as error:
        problems = [str(problem) for problem in getattr(error, "problems", ())]
        said = "; ".join(problems[:3]) or str(error).splitlines()[0]
        return TensorsSeen(skipped=f"the code does not build from the archive's config: {said}")
    if policy.module is None:
        return TensorsSeen(skipped="the policy has no module in this process")
    new, tied_new = module_signature(policy.module)
    matches = match_tensors(list(before.tensors), new, tied_old=before.tied, tied_new=tied_new)
    sizes = Sizes.of(
        before.document.get("config", {}), architecture.to_document()["config"], before.rules, policy.rules
    )
    wrapper = find_wrapper({t.key for t in before.tensors}, {t.key for t in new})
    if wrapper is None or before.as_trained:
        keys = judge_keys(before.tensors, new, matches, before.tied)
    else:
        keys = judge_wrapper(wrapper, len(before.tensors))
    findings = [
        *keys,
        *judge_dimensions(before.tensors, new, sizes),
        *judge_modules(before.modules, dict(_modules(policy.module))),
    ]
    return TensorsSeen(findings=tuple(findings), new=tuple(new), matches=tuple(matches))


def _build(
    architecture: PolicyArchitecture, today: GameRules | None, fallback: GameRules | None, subject: str
) -> Policy:
    rules = today or fallback
    if rules is None:
        raise BuildError(subject, stage="rules", cause="there are no game rules to build for")
    said = f"{architecture.kind} of {subject}"
    try:
        return build_on_meta(architecture, rules, subject=said)
    except BuildError:
        if fallback is None or fallback == rules:
            raise
        return build_on_meta(architecture, fallback, subject=said)


def _modules(module: Any) -> Iterator[tuple[str, tuple[str, int | None]]]:
    from app_loader.save import type_name

    versions = getattr(module.state_dict(), "_metadata", {})
    for path, child in module.named_modules(remove_duplicate=False):
        yield path, (type_name(type(child)), versions.get(path, {}).get("version"))
