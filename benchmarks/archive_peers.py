"""The ways to keep a state dict that are compared with the archive, each as a save and a load.

A load returns the tensors by key and nothing more; whatever is lazy stays lazy.
"""

from __future__ import annotations

import importlib.util
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from mpt_format import ArchiveContent, collect_state, open_archive, write_archive

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One way.

    Attributes:
        name: as printed.
        suffix: of its file.
        save: writes a module's state.
        load: reads it back.
    """

    name: str
    suffix: str
    save: Callable[[torch.nn.Module, Path], object]
    load: Callable[[Path], Tensors]


def make_module(size_bytes: int, tensors: int) -> torch.nn.Module:
    """Return a module with so many float32 tensors of one size, random and seeded."""
    torch.manual_seed(0)
    module = torch.nn.Module()
    count = max(1, size_bytes // 4 // tensors)
    for index in range(tensors):
        layer = torch.nn.Module()
        layer.weight = torch.nn.Parameter(torch.randn(count))
        module.add_module(f"layer{index}", layer)
    return module


def _load_mpt(path: Path) -> Tensors:
    with open_archive(path) as archive:
        return archive.read_tensors()


def _save_ancestor(module: torch.nn.Module, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as container:
        container.writestr("policy_architecture.yaml", "kind: mlp\n")
        container.writestr("weights.safetensors", safetensors.torch.save(dict(module.state_dict())))


def _load_ancestor(path: Path) -> Tensors:
    with zipfile.ZipFile(path) as container:
        return safetensors.torch.load(container.read("weights.safetensors"))


def _save_package(module: torch.nn.Module, path: Path) -> None:
    import torch.package as package

    with package.PackageExporter(path) as exporter:
        exporter.save_pickle("policy", "state.pkl", dict(module.state_dict()))


def _load_package(path: Path) -> Tensors:
    import torch.package as package

    loaded: Tensors = package.PackageImporter(path).load_pickle("policy", "state.pkl")
    return loaded


def _save_sb3(module: torch.nn.Module, path: Path) -> None:
    from stable_baselines3.common.save_util import save_to_zip_file  # type: ignore[import-not-found,unused-ignore]

    save_to_zip_file(path, data={}, params={"policy": module.state_dict()})


def _load_sb3(path: Path) -> Tensors:
    from stable_baselines3.common.save_util import load_from_zip_file  # type: ignore[import-not-found,unused-ignore]

    params: Any = load_from_zip_file(path, device="cpu")[1]
    return dict(params["policy"])


def _save_tensordict(module: torch.nn.Module, path: Path) -> None:
    from tensordict import TensorDict  # type: ignore[import-not-found,unused-ignore]

    TensorDict(dict(module.state_dict())).consolidate(filename=path)


def _load_tensordict(path: Path) -> Tensors:
    from tensordict import TensorDict  # type: ignore[import-not-found,unused-ignore]

    return dict(TensorDict.from_consolidated(path).items())


def _save_transformers(module: torch.nn.Module, path: Path) -> None:
    _pretrained(module).save_pretrained(path)


def _pretrained(module: torch.nn.Module) -> Any:
    from transformers import PretrainedConfig, PreTrainedModel  # type: ignore[import-not-found,unused-ignore]

    class Model(PreTrainedModel):  # type: ignore[misc,unused-ignore]
        config_class = PretrainedConfig
        base_model_prefix = "body"

        def __init__(self, config: PretrainedConfig) -> None:
            super().__init__(config)
            self.body = torch.nn.Module()
            for index, count in enumerate(config.counts):
                layer = torch.nn.Module()
                layer.weight = torch.nn.Parameter(torch.empty(count))
                self.body.add_module(f"layer{index}", layer)
            self.post_init()

        def _init_weights(self, module: torch.nn.Module) -> None: ...

    _pretrained.model_class = Model  # type: ignore[attr-defined]
    model: Any = Model(PretrainedConfig(counts=[parameter.numel() for parameter in module.parameters()]))
    model.body.load_state_dict(module.state_dict(), assign=True)
    return model


def _load_transformers(path: Path) -> Tensors:
    model = _pretrained.model_class.from_pretrained(path)  # type: ignore[attr-defined]
    return {key.removeprefix("body."): value for key, value in model.state_dict().items()}


def _save_torch(module: torch.nn.Module, path: Path) -> None:
    torch.save(module.state_dict(), path)


PEERS = [
    Peer(
        name="safetensors",
        suffix="safetensors",
        save=lambda module, path: safetensors.torch.save_file(dict(module.state_dict()), path),
        load=lambda path: safetensors.torch.load_file(path),
    ),
    Peer(
        name="mpt",
        suffix="mpt",
        save=lambda module, path: write_archive(path, ArchiveContent(state=collect_state(module))),
        load=_load_mpt,
    ),
    Peer(
        name="torch.load(mmap=True)",
        suffix="pt",
        save=_save_torch,
        load=lambda path: torch.load(path, mmap=True, weights_only=True),
    ),
    Peer(name="torch.load", suffix="pt", save=_save_torch, load=lambda path: torch.load(path, weights_only=True)),
    Peer(name="torch.package", suffix="package", save=_save_package, load=_load_package),
    Peer(name="ancestor: deflated zip", suffix="old.mpt", save=_save_ancestor, load=_load_ancestor),
]
if importlib.util.find_spec("tensordict"):
    PEERS.append(Peer(name="tensordict, consolidated", suffix="td", save=_save_tensordict, load=_load_tensordict))
if importlib.util.find_spec("stable_baselines3"):
    PEERS.append(Peer(name="stable-baselines3 zip", suffix="sb3.zip", save=_save_sb3, load=_load_sb3))
if importlib.util.find_spec("transformers"):
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    PEERS.append(
        Peer(name="transformers from_pretrained", suffix="hf", save=_save_transformers, load=_load_transformers)
    )
