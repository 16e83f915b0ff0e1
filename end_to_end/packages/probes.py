"""What is asked of a package, through `load(name)` alone: run by the test in one process, and in a clean one for truth.

usage: python probes.py PROBE FOLDER    prints the answers of the version installed in FOLDER as JSON
"""

from __future__ import annotations

import copy
import importlib
import json
import pickle
import sys
from collections.abc import Callable
from typing import Any

import torch

Load = Callable[[str], Any]


def x_transformers(load: Load) -> dict[str, Any]:
    """A decoder with its private einops: loss, logits, a late import, deepcopy."""
    package = load("x_transformers")
    torch.manual_seed(0)
    net = package.TransformerWrapper(
        num_tokens=20, max_seq_len=16, attn_layers=package.Decoder(dim=16, depth=1, heads=2, rotary_pos_emb=True)
    )
    tokens = torch.arange(8)[None]
    loss = package.AutoregressiveWrapper(net)(tokens)
    late = load("x_transformers.continuous").ContinuousTransformerWrapper
    return {
        "loss": loss.item(),
        "logits": net(tokens)[0, -1].tolist(),
        "copied": copy.deepcopy(net)(tokens)[0, -1].tolist(),
        "pickled": pickle.loads(pickle.dumps(package.Decoder)) is package.Decoder,
        "late": late.__name__,
        "einops": load("einops").__version__,
        "keys": sorted(net.state_dict()),
    }


def stable_baselines3(load: Load) -> dict[str, Any]:
    """PPO on CartPole with its private gymnasium: trained logits, pickle, versions."""
    package, gymnasium = load("stable_baselines3"), load("gymnasium")
    model = package.PPO("MlpPolicy", "CartPole-v1", seed=0, n_steps=64, batch_size=32, n_epochs=1, device="cpu")
    model.learn(64)
    points = torch.linspace(-0.05, 0.05, 12).reshape(3, 4)
    twin = pickle.loads(pickle.dumps(model.policy))
    with torch.no_grad():
        logits = [policy.get_distribution(points).distribution.logits.tolist() for policy in (model.policy, twin)]
    return {"logits": logits, "version": package.__version__, "gymnasium": gymnasium.__version__}


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[2])
    torch.set_num_threads(1)
    print(json.dumps(globals()[sys.argv[1]](importlib.import_module)))
