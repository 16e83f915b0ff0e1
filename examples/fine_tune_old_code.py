"""Fine-tune a policy in the code it was trained with, and save it under its original version."""

import tempfile
from pathlib import Path

import torch
from app_loader import Store, load_policy, save_policy
from mpt_format import open_archive

ROOT = Path(__file__).parents[1]

with tempfile.TemporaryDirectory() as folder:
    store = Store(Path(folder, "store"))
    store.add([ROOT / "wheelhouse" / "model_zoo-0.1.0-py3-none-any.whl"])
    policy = load_policy(ROOT / "museum" / "0.1.0" / "mlp_actor_critic.mpt", store=store)
    print("loaded ", policy.origin)

    optimizer = torch.optim.SGD(policy.module.parameters(), lr=0.01)
    observation = torch.randn(32, policy.rules.observation_size)
    policy.act(observation, policy.initial_state(32)).value.square().mean().backward()
    optimizer.step()

    tuned = Path(folder, "tuned.mpt")
    save_policy(policy, tuned)
    with open_archive(tuned) as archive:
        print("saved  ", archive.manifest.code.distribution, archive.manifest.code.version, archive.manifest.lineage)
