"""Two releases of the model zoo in one process, taking turns on the same observation."""

import tempfile
from pathlib import Path

import torch
from app_loader import Store
from policy_interface import DiscreteActions, Feature, GameRules, origin_of

WHEELHOUSE = Path(__file__).parents[1] / "wheelhouse"

rules = GameRules(
    features=(Feature(name="position", id=0, scale=2.4), Feature(name="velocity", id=1)),
    actions=DiscreteActions.of("left", "right"),
)
with tempfile.TemporaryDirectory() as folder:
    store = Store(folder)
    policies = []
    for wheel in sorted(WHEELHOUSE.glob("model_zoo-*.whl")):
        entry = store.add([wheel])
        architectures = entry.entry_points("policy_interface.architectures")  # read without importing anything
        module, _, name = architectures["mlp_actor_critic"].partition(":")
        architecture = getattr(entry.import_module(module), name)()
        torch.manual_seed(0)
        policies.append(architecture.make_policy(rules))
    observation = torch.tensor([[0.5, -1.0]])
    for policy in policies:
        output = policy.act(observation, policy.initial_state(1))
        print(origin_of(policy), "value", round(output.value.item(), 4))
