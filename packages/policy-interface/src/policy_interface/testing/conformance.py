"""The conformance check: does a policy do what the contract promises, for these rules?"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from policy_interface.actions import ContinuousActions
from policy_interface.errors import ContractViolationError, PolicyInterfaceError, Problem
from policy_interface.game_rules import GameRules
from policy_interface.policy import Capability, Observation, Policy, PolicyOutput
from policy_interface.state import flatten_state, map_state
from policy_interface.testing.sampling import sample_observation
from policy_interface.training import TensorSpec, action_spec, capability_shape

_BATCH = 3


def check_policy(policy: Policy, rules: GameRules) -> None:
    """Check every promise of the contract on seeded observations drawn from the rules.

    The policy's weights and torch's global generator are left as they were.

    Args:
        policy: built for `rules`.
        rules: the game rules.

    Raises:
        ContractViolationError: with every broken promise.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        problems = list(_problems(policy, rules))
    if problems:
        raise ContractViolationError(type(policy).__qualname__, problems)


def _problems(policy: Policy, rules: GameRules) -> Iterator[Problem]:
    if not isinstance(policy, Policy):
        yield Problem(path="type", message=f"expected a policy_interface.Policy, got {type(policy).__qualname__}")
        return
    for name in ("architecture", "rules", "capabilities"):
        if getattr(policy, name, None) is None:
            yield Problem(path=name, message="missing: set it before the constructor returns")
            return
    yield from _declaration_problems(policy, rules)
    if isinstance(policy.module, nn.Module):
        policy.module.eval()
    generator = torch.Generator().manual_seed(0)
    observation = sample_observation(rules, _BATCH, generator)
    try:
        state = policy.initial_state(_BATCH)
        first = policy.act(observation, state)
    except Exception as error:  # whatever model code raises is the finding
        yield Problem(path="act", message=f"raised {type(error).__name__}: {error}")
        return
    yield from _output_problems(policy, rules, first, state)
    for check in (_repeat_problems, _evaluation_problems, _batch_problems):
        try:
            yield from check(policy, observation, state, first)
        except Exception as error:
            yield Problem(path="act", message=f"raised {type(error).__name__}: {error}")
    yield from _architecture_problems(policy, rules)


def _declaration_problems(policy: Policy, rules: GameRules) -> Iterator[Problem]:
    if policy.rules != rules:
        yield Problem(path="rules", message="differ from the rules that the policy was built for")
    unknown = [c for c in policy.capabilities if c not in set(Capability)]
    if unknown:
        yield Problem(
            path="capabilities", message=f"unknown: {unknown}, expected some of {[str(c) for c in Capability]}"
        )
    if isinstance(rules.actions, ContinuousActions) and Capability.LOGITS in policy.capabilities:
        yield Problem(path="capabilities", message="continuous actions have no logits")
    for leaf in (*flatten_state(policy.initial_state(_BATCH)).items(),):
        if not isinstance(leaf[1], Tensor) or leaf[1].shape[:1] != (_BATCH,):
            yield Problem(
                path=f"initial_state.{leaf[0]}", message=f"expected a tensor whose first axis is the batch ({_BATCH})"
            )


def _output_problems(policy: Policy, rules: GameRules, output: PolicyOutput, state: object) -> Iterator[Problem]:
    yield from _tensor_problems("action", output.action, action_spec(rules))
    for capability in Capability:
        value = getattr(output, capability)
        if capability not in policy.capabilities:
            if value is not None:
                yield Problem(path=capability, message="given but not declared in capabilities")
        elif value is None:
            yield Problem(path=capability, message="declared in capabilities but not given")
        else:
            yield from _tensor_problems(
                capability, value, TensorSpec(shape=capability_shape(capability, rules), dtype="float32")
            )
    before = {path: (leaf.shape, leaf.dtype) for path, leaf in flatten_state(state).items()}
    after = {path: (leaf.shape, leaf.dtype) for path, leaf in flatten_state(output.state).items()}
    if before != after:
        yield Problem(path="state", message=f"the next state is shaped {after}, expected as the one before: {before}")


def _tensor_problems(path: str, value: object, spec: TensorSpec) -> Iterator[Problem]:
    expected = f"{spec.dtype} [{', '.join(['batch', *map(str, spec.shape)])}] with batch {_BATCH}"
    if not isinstance(value, Tensor):
        yield Problem(path=path, message=f"expected {expected}, got {type(value).__qualname__}")
    elif tuple(value.shape) != (_BATCH, *spec.shape) or value.dtype != getattr(torch, spec.dtype):
        yield Problem(path=path, message=f"expected {expected}, got {value.dtype} {list(value.shape)}")
    elif value.is_floating_point() and not bool(torch.isfinite(value).all()):
        yield Problem(path=path, message="not finite")


def _differences(a: PolicyOutput, b: PolicyOutput, close: Callable[[Tensor, Tensor], bool]) -> list[str]:
    names = ["action", *(str(c) for c in Capability)]
    found = [n for n in names if getattr(a, n) is not None and not close(getattr(a, n), getattr(b, n))]
    after, again = flatten_state(a.state), flatten_state(b.state)
    return found + [f"state.{path}" for path in after if not close(after[path], again[path])]


def _repeat_problems(policy: Policy, observation: Observation, state: object, first: PolicyOutput) -> Iterator[Problem]:
    kept = copy.deepcopy((observation, state))
    again = policy.act(observation, state)
    for name in _differences(first, again, torch.equal):
        yield Problem(path=name, message="differs between two deterministic calls with equal input")
    before, after = flatten_state(kept[1]), flatten_state(state)
    for path in before:
        if not torch.equal(before[path], after[path]):
            yield Problem(path=f"state.{path}", message="act changed the state it was given in place")
    seeded = [
        policy.act(observation, state, deterministic=False, generator=torch.Generator().manual_seed(7)) for _ in "ab"
    ]
    if not torch.equal(seeded[0].action, seeded[1].action):
        yield Problem(path="action", message="two samples with equally seeded generators differ")


def _evaluation_problems(
    policy: Policy, observation: Observation, state: object, first: PolicyOutput
) -> Iterator[Problem]:
    given = policy.act(observation, state, action=first.action)
    if not torch.equal(given.action, first.action):
        yield Problem(path="action", message="act(action=...) must give those actions back")
    elif Capability.LOG_PROB in policy.capabilities and not _close(given.log_prob, first.log_prob):
        yield Problem(path="log_prob", message="differs between choosing an action and evaluating the same action")


def _close(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and torch.allclose(a.float(), b.float(), atol=1e-4, rtol=1e-4)


def _batch_problems(policy: Policy, observation: Observation, state: object, first: PolicyOutput) -> Iterator[Problem]:
    """An element's answer must not depend on its neighbours in the batch."""
    alone = policy.act(map_state(lambda leaf: leaf[:1], observation), map_state(lambda leaf: leaf[:1], state))
    head = PolicyOutput._make(value if value is None else map_state(lambda leaf: leaf[:1], value) for value in first)
    for name in _differences(head, alone, _close):
        if name != "action" or isinstance(policy.rules.actions, ContinuousActions):
            yield Problem(path=name, message="an element's output depends on the other elements of its batch")


def _architecture_problems(policy: Policy, rules: GameRules) -> Iterator[Problem]:
    architecture = policy.architecture
    cls = type(architecture)
    if architecture.resolve(rules) != architecture:
        yield Problem(
            path="architecture", message="not resolved: policy.architecture must be architecture.resolve(rules)"
        )
    try:
        read = cls.from_document(architecture.to_document())
        if read != architecture:
            yield Problem(path="architecture", message="changes in a round trip through its document")
        with torch.device("meta"):
            built = read.make_policy(rules)
    except PolicyInterfaceError as error:
        yield Problem(path="architecture", message=str(error))
        return
    except Exception as error:
        yield Problem(path="architecture", message=f"building on meta raised {type(error).__name__}: {error}")
        return
    if policy.module is not None and built.module is not None:
        mine, theirs = (_signature(module) for module in (policy.module, built.module))
        if mine != theirs:
            names = sorted(k for k in mine.keys() | theirs.keys() if mine.get(k) != theirs.get(k))
            yield Problem(
                path="module", message=f"rebuilt from its own document it has other tensors: {', '.join(names[:8])}"
            )


def _signature(module: nn.Module) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    return {
        name: (tuple(value.shape), value.dtype)
        for name, value in module.state_dict().items()
        if isinstance(value, Tensor)
    }
