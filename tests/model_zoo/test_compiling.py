"""`forward`, the deterministic act, is one graph: exported whole, and compiled without a break."""

from __future__ import annotations

import pytest
import torch
from policy_interface import Policy
from policy_interface.testing import sample_observation
from torch import nn

from tests.model_zoo.cases import ACTIONS, CASES, make_rules


@pytest.mark.parametrize(
    ("case", "actions"),
    [*((case, "discrete") for case in CASES), ("conv", "continuous"), ("mlp on a vector", "multi_discrete")],
)
def test_exported_program_computes_the_same(case: str, actions: str) -> None:
    assert actions in ACTIONS
    policy, module, observation = _policy(case, actions)
    state = policy.initial_state(4)
    exported = torch.export.export(module, (observation, state), strict=True)
    expected, given = policy.act(observation, state), exported.module()(observation, state)
    assert torch.equal(expected.action, given.action)
    torch.testing.assert_close(given.value, expected.value)


@pytest.mark.parametrize("case", ["mlp on a vector", "token with lstm", "morphogenetic, germinated"])
def test_compiled_act_has_no_graph_break_and_computes_the_same(case: str) -> None:
    policy, _, observation = _policy(case, "discrete")
    state = policy.initial_state(4)
    compiled = torch.compile(policy.act, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        expected, given = policy.act(observation, state), compiled(observation, state)
    assert torch.equal(expected.action, given.action)
    torch.testing.assert_close(given.log_prob, expected.log_prob)


def _policy(case: str, actions: str) -> tuple[Policy, nn.Module, torch.Tensor]:
    layout, architecture = CASES[case]
    rules = make_rules(layout, actions)
    policy = architecture.make_policy(rules)
    assert policy.module is not None
    policy.module.eval()
    observation = sample_observation(rules, 4, torch.Generator().manual_seed(3))
    return policy, policy.module, observation  # type: ignore[return-value]  # a mapping for a dict layout
