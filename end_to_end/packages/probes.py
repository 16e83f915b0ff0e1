"""What is asked of a package, through `load(name)` alone: run by the test in one process, and in a clean one for truth.

usage: python probes.py PROBE FOLDER    prints the answers of the version installed in FOLDER as JSON
"""

from __future__ import annotations

import copy
import importlib
import json
import logging
import pickle
import sys
import tempfile
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


def lightning(load: Load) -> dict[str, Any]:
    """Two epochs with a checkpoint: the trainer patches methods of torch's DataLoader while it makes its own."""
    package = load("lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Net(package.LightningModule):  # type: ignore[name-defined, misc]  # known at run time only
        def __init__(self, width: int = 4) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.net = torch.nn.Linear(2, width)

        def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
            loss = self.net(batch[0]).pow(2).mean()
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

        def train_dataloader(self) -> torch.utils.data.DataLoader[Any]:
            data = torch.linspace(0, 1, 16).reshape(8, 2)
            return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(data), batch_size=4)

    torch.manual_seed(0)
    net = Net()
    with tempfile.TemporaryDirectory() as folder:
        callbacks = load("lightning.pytorch.callbacks")
        keep = callbacks.ModelCheckpoint(dirpath=folder, monitor="loss")
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = package.Trainer(max_epochs=2, accelerator="cpu", callbacks=[keep], default_root_dir=folder, **quiet)
        trainer.fit(net)
        again = Net.load_from_checkpoint(keep.best_model_path)
    registry = load("lightning.pytorch.strategies").StrategyRegistry
    return {
        "weights": net.net.weight.tolist(),
        "again": again.net.weight.tolist(),
        "compiled": torch.compile(torch.nn.Sequential(again.net), backend="eager")(torch.ones(1, 2)).tolist(),
        "pickled": type(pickle.loads(pickle.dumps(callbacks.EarlyStopping("loss")))) is callbacks.EarlyStopping,
        "strategies": sorted(registry.available_strategies()),
        "metrics": float(load("torchmetrics").MeanSquaredError()(torch.ones(2), torch.zeros(2))),
        "version": package.__version__,
    }


def pyro_ppl(load: Load) -> dict[str, Any]:
    """Variational steps, and a module of torch made probabilistic, compiled from torch's own `forward`."""
    pyro, infer, distributions = load("pyro"), load("pyro.infer"), load("pyro.distributions")
    pyro.set_rng_seed(0)
    pyro.clear_param_store()
    data = torch.tensor([1.0, 2.0, 3.0])

    def model() -> None:
        mean = pyro.sample("mean", distributions.Normal(0.0, 1.0))
        pyro.sample("seen", distributions.Normal(mean, 1.0).expand([3]).to_event(1), obs=data)

    guide = load("pyro.infer.autoguide").AutoNormal(model)
    steps = infer.SVI(model, guide, load("pyro.optim").Adam({"lr": 0.1}), infer.Trace_ELBO())
    layer = load("pyro.nn").PyroModule[torch.nn.Linear](2, 3)
    return {
        "losses": [steps.step() for _ in range(3)],
        "compiled": torch.compile(layer, backend="eager")(torch.ones(1, 2)).tolist(),
        "pickled": repr(pickle.loads(pickle.dumps(distributions.Delta(torch.tensor(1.0))))),
        "divergence": float(
            torch.distributions.kl_divergence(distributions.Delta(torch.tensor(0.0)), distributions.Normal(1.0, 2.0))
        ),
        "version": pyro.__version__,
    }


def einops(load: Load) -> dict[str, Any]:
    """Layers inside a shared module, run plainly, compiled and pickled; the messages of errors."""
    package, layers = load("einops"), load("einops.layers.torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(layers.Rearrange("a b (c d) -> a (c b) d", d=2), torch.nn.Linear(2, 3))
    x = torch.arange(24.0).reshape(2, 3, 4)
    try:
        package.rearrange(x, "a b -> b a")
    except package.EinopsError as error:
        message = str(error)
    return {
        "net": net(x).tolist(),
        "compiled": torch.compile(net, backend="eager")(x).tolist(),
        "pickled": pickle.loads(pickle.dumps(net))(x).tolist(),
        "repr": repr(net),
        "message": message,
        "version": package.__version__,
    }


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[2])
    torch.set_num_threads(1)
    print(json.dumps(globals()[sys.argv[1]](importlib.import_module)))
