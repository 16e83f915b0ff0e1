"""Optimizer state by parameter name: tensors beside tensors, everything else as JSON, so that training can go on.

torch numbers an optimizer's slots by the order of its parameters, which a later version of the code may change; here a
slot is called ``PARAMETER/SLOT``, as in ``body.0.weight/exp_avg``, and follows its parameter through a migration.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from mpt_format import open_archive
from torch import Tensor, nn

from app_loader.errors import RestoreError

MEMBER = "optimizer"
"""The name of the two members of an archive: ``trainer/optimizer.safetensors`` and ``trainer/optimizer.json``."""

_NO_OPTIMIZER = "the archive was saved without an optimizer"
_SCHEDULER_OPTIONS = frozenset({"initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum"})
"""Options that torch's schedulers add to the groups of any optimizer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerState:
    """An optimizer's state.

    Attributes:
        tensors: ``PARAMETER/SLOT`` to tensor.
        document: plain data: the optimizer's class name (None where a converted checkpoint does not say it), its groups
            (options, names of parameters) and slots that are numbers.
    """

    tensors: dict[str, Tensor]
    document: dict[str, Any]


def collect_optimizer(optimizer: torch.optim.Optimizer, module: nn.Module) -> OptimizerState:
    """Return an optimizer's state by the names that its parameters have in a module.

    Raises:
        RestoreError: the optimizer holds a parameter that the module does not have, or an option that is no plain data.
    """
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    strangers = [
        f"a parameter shaped {list(p.shape)} of the optimizer is none of the module's"
        for group in optimizer.param_groups
        for p in group["params"]
        if id(p) not in names
    ]
    odd = [
        f"option {key!r} is {type(value).__qualname__}, expected a number, text, boolean, list or None"
        for group in optimizer.param_groups
        for key, value in group.items()
        if key != "params" and not _plain(value)
    ]
    if strangers or odd:
        raise RestoreError("the optimizer", other=[*strangers, *odd])
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for parameter, slots in optimizer.state.items():
        for slot, value in slots.items():
            name = f"{names[id(parameter)]}/{slot}"
            if isinstance(value, Tensor):
                tensors[name] = value.detach()
            elif value is not None:
                scalars[name] = value
    groups = [
        {
            "options": {key: _listed(value) for key, value in group.items() if key != "params"},
            "parameters": [names[id(p)] for p in group["params"]],
        }
        for group in optimizer.param_groups
    ]
    return OptimizerState(
        tensors=tensors, document={"class": type(optimizer).__qualname__, "groups": groups, "scalars": scalars}
    )


def restore_optimizer(optimizer: torch.optim.Optimizer, module: nn.Module, state: OptimizerState) -> None:
    """Put a state back, by parameter name, into an optimizer over a module's parameters.

    Raises:
        RestoreError: other groups, other parameters, or another class of optimizer.
    """
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    mine = [[names.get(id(p), "?") for p in group["params"]] for group in optimizer.param_groups]
    theirs = [group["parameters"] for group in state.document["groups"]]
    problems = []
    saved_class = state.document["class"]
    if saved_class is None:
        problems += _foreign_options(optimizer, state)
    elif type(optimizer).__qualname__ != saved_class:
        problems.append(f"class: {saved_class} was saved, here is {type(optimizer).__qualname__}")
    if [sorted(group) for group in mine] != [sorted(group) for group in theirs]:
        lost = sorted({n for g in theirs for n in g} - {n for g in mine for n in g})
        new = sorted({n for g in mine for n in g} - {n for g in theirs for n in g})
        problems.append(f"parameter groups differ: only saved {lost[:8]}, only here {new[:8]}")
    if problems:
        raise RestoreError("the optimizer", other=problems)
    number = {name: index for index, name in enumerate(name for group in mine for name in group)}
    slots: dict[int, dict[str, Any]] = {}
    for name, value in [*state.tensors.items(), *state.document["scalars"].items()]:
        parameter, _, slot = name.rpartition("/")
        slots.setdefault(number[parameter], {})[slot] = value
    start = 0
    groups = []
    for own, saved in zip(optimizer.param_groups, state.document["groups"], strict=True):
        count = len(own["params"])
        options = {key: _as_before(own.get(key), value) for key, value in saved["options"].items()}
        groups.append({**options, "params": list(range(start, start + count))})
        start += count
    optimizer.load_state_dict({"state": slots, "param_groups": groups})


def _foreign_options(optimizer: torch.optim.Optimizer, state: OptimizerState) -> list[str]:
    """Say which saved options the optimizer does not know, where nothing else tells of which class it was."""
    saved = {key for group in state.document["groups"] for key in group["options"]}
    known = {key for group in optimizer.param_groups for key in group}
    unknown = sorted(saved - known - _SCHEDULER_OPTIONS)
    return [f"options: {unknown} were saved, which {type(optimizer).__qualname__} does not have"] if unknown else []


def _plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str) or _number_tensor(value)


def _number_tensor(value: Any) -> bool:
    """Tell whether an option is one number on a device, as a learning rate that a compiled step may read."""
    return isinstance(value, Tensor) and value.dim() == 0


def _listed(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    return value.item() if isinstance(value, Tensor) else value


def _as_before(current: Any, saved: Any) -> Any:
    """Return a saved option in the type that the optimizer has now: JSON has neither tuples (betas) nor tensors."""
    if isinstance(current, Tensor):
        return torch.full_like(current, saved)
    return tuple(saved) if isinstance(current, tuple) else saved


def numbered_state_dict(state: OptimizerState) -> dict[str, Any]:
    """Return a state whose parameters have numbers instead of names, as `Optimizer.load_state_dict` takes it.

    A conversion keeps the numbers of the source where it could not tell which parameter has which. They mean the order
    in which the training script gave its parameters: build the optimizer as that script did.

    Raises:
        RestoreError: its parameters have names; `restore_optimizer` takes those.
    """
    groups = state.document["groups"]
    named = [name for group in groups for name in group["parameters"] if not name.isdecimal()]
    if named:
        raise RestoreError("the optimizer", other=[f"its parameters have names, as {named[0]!r}: restore_optimizer"])
    slots: dict[int, dict[str, Any]] = {}
    for name, value in [*state.tensors.items(), *state.document["scalars"].items()]:
        number, _, slot = name.partition("/")
        slots.setdefault(int(number), {})[slot] = value
    numbered = [{**group["options"], "params": [int(number) for number in group["parameters"]]} for group in groups]
    return {"state": slots, "param_groups": numbered}


def read_optimizer_state(path: str | Path, name: str = MEMBER) -> OptimizerState:
    """Return the optimizer's state that an archive carries.

    Args:
        path: the archive.
        name: of the member below ``trainer/``, where a converted checkpoint has several optimizers.

    Raises:
        RestoreError: the archive has none of that name; those that it has are named.
    """
    with open_archive(path) as archive:
        document, tensors = f"trainer/{name}.json", f"trainer/{name}.safetensors"
        if document not in archive.members:
            prefix, suffix = "trainer/", ".json"
            there = [
                member[len(prefix) : -len(suffix)]
                for member in archive.members
                if member.startswith(prefix) and member.endswith(suffix)
            ]
            told = f"the archive has no optimizer {name!r}, but {there}" if there else _NO_OPTIMIZER
            raise RestoreError(str(path), other=[told], archive=str(path))
        return OptimizerState(
            tensors=archive.read_tensor_member(tensors) if tensors in archive.members else {},
            document=cast("dict[str, Any]", archive.read_json(document)),
        )
