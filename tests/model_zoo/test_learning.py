"""The networks learn: a few gradient steps bring a loss down, and every trainable weight takes part."""

from __future__ import annotations

import pytest
import torch
from policy_interface import Policy
from policy_interface.policy import Observation
from policy_interface.testing import sample_actions, sample_observation

from tests.model_zoo.cases import ACTIONS, CASES, make_rules


@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize("case", CASES)
def test_a_few_gradient_steps_make_given_actions_likelier_and_values_truer(case: str, actions: str) -> None:
    layout, architecture = CASES[case]
    rules = make_rules(layout, actions)
    policy = architecture.make_policy(rules)
    assert policy.module is not None
    generator = torch.Generator().manual_seed(1)
    observation, wanted = sample_observation(rules, 8, generator), sample_actions(rules, 8, generator)
    optimizer = torch.optim.Adam(policy.module.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        loss = _loss(policy, observation, wanted)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("case", [case for case in CASES if "germinated" not in case])
def test_every_weight_gets_a_gradient(case: str) -> None:
    layout, architecture = CASES[case]
    rules = make_rules(layout)
    policy = architecture.make_policy(rules)
    assert policy.module is not None
    generator = torch.Generator().manual_seed(1)
    observation = sample_observation(rules, 4, generator)
    first = policy.act(observation, policy.initial_state(4))
    second = policy.act(observation, first.state, deterministic=False, generator=generator)
    assert second.log_prob is not None and second.value is not None
    torch.autograd.backward(second.log_prob.sum() + second.value.sum())
    assert not [name for name, p in policy.module.named_parameters() if p.grad is None or not p.grad.any()]


def _loss(policy: Policy, observation: Observation, wanted: torch.Tensor) -> torch.Tensor:
    output = policy.act(observation, policy.initial_state(8), action=wanted)
    assert output.log_prob is not None and output.value is not None
    return -output.log_prob.mean() + (output.value - 1).square().mean()
