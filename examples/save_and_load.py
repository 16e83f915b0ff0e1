"""Save a policy with its optimizer, load it in today's process, and go on training as if nothing had happened."""

import tempfile
from pathlib import Path

import torch
from app_loader import load_policy, save_policy
from app_loader.trainer_state import read_optimizer_state, restore_optimizer
from model_zoo import MlpActorCriticArchitecture
from policy_interface import DiscreteActions, Feature, GameRules


def train_step(policy, optimizer):
    """Take one step towards a value that is the sum of the observation; return the loss."""
    torch.manual_seed(1)
    observation = torch.randn(64, 2)
    loss = (policy.act(observation, policy.initial_state(64)).value - observation.sum(1)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


rules = GameRules(
    features=(Feature(name="position", id=0, scale=2.4), Feature(name="velocity", id=1)),
    actions=DiscreteActions.of("left", "right"),
)
torch.manual_seed(0)
policy = MlpActorCriticArchitecture().make_policy(rules)
optimizer = torch.optim.Adam(policy.module.parameters(), lr=1e-3)
for _ in range(10):
    train_step(policy, optimizer)

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "run.mpt")
    save_policy(policy, path, optimizer=optimizer, training={"steps": 10})
    loaded = load_policy(path, verify="witness")
    resumed = torch.optim.Adam(loaded.module.parameters(), lr=1e-3)
    restore_optimizer(resumed, loaded.module, read_optimizer_state(path))
    print(loaded.origin)
    print("next loss, never stopped: ", train_step(policy, optimizer))
    print("next loss, loaded:        ", train_step(loaded, resumed))
