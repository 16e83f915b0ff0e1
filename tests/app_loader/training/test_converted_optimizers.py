"""Optimizer states go along: every slot bit by bit, named where the parameter is plain, else under the old numbers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from app_loader.errors import RestoreError
from app_loader.trainer_state import numbered_state_dict, read_optimizer_state, restore_optimizer
from mpt_format import audit_checkpoint, convert_checkpoint, open_archive
from mpt_format.convert import Conversion, parse_key_map
from safetensors.torch import load_file
from torch import Tensor, nn


def _train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    """A few steps with gradients that differ for each parameter."""
    for _ in range(steps):
        for at, parameter in enumerate(net.parameters()):
            parameter.grad = torch.full_like(parameter, float(at + 1)) * torch.rand_like(parameter)
        optimizer.step()


def _net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def _convert(tmp_path: Path, value: Any, **options: Any) -> Conversion:
    torch.save(value, tmp_path / "old.pt")
    return convert_checkpoint(tmp_path / "old.pt", tmp_path / "new.mpt", **options)


def _members(path: Path) -> list[str]:
    with open_archive(path) as archive:
        return [name for name in archive.members if name.startswith("trainer/")]


def _same(left: Any, right: Any) -> bool:
    """Whether two states of an optimizer are equal, tensors bit by bit; a list stands for a tuple."""
    if isinstance(left, Tensor):
        return isinstance(right, Tensor) and left.dtype == right.dtype and left.shape == right.shape and torch.equal(
            left.reshape(-1).contiguous().view(torch.uint8), right.reshape(-1).contiguous().view(torch.uint8)
        )  # fmt: skip
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "NAdam", "Adamax", "Adadelta", "ASGD"])
def test_training_goes_on_after_a_conversion_as_if_nothing_had_been(tmp_path: Path, name: str) -> None:
    net = _net()
    make = getattr(torch.optim, name)
    optimizer = make(net.parameters(), lr=0.1, **({"momentum": 0.9} if name == "SGD" else {}))
    _train(net, optimizer)
    done = _convert(tmp_path, {"model": net.state_dict(), "optimizer": optimizer.state_dict()})
    fresh = _net()
    fresh.load_state_dict(net.state_dict())
    resumed = make(fresh.parameters(), lr=0.5)
    restore_optimizer(resumed, fresh, read_optimizer_state(done.path))
    assert _same(resumed.state_dict(), optimizer.state_dict())
    assert list(done.slots) == ["trainer/optimizer"]
    assert done.audit.verdict == audit_checkpoint(done.path).verdict == "ok"


def test_slots_have_the_names_of_parameters_and_buffers_get_none(tmp_path: Path) -> None:
    net = _net()
    optimizer = torch.optim.Adam(net.parameters())
    _train(net, optimizer)
    done = _convert(tmp_path, {"model": net.state_dict(), "optimizer": optimizer.state_dict()})
    state = read_optimizer_state(done.path)
    expected = {f"{name}/{slot}" for name, _ in net.named_parameters() for slot in ("exp_avg", "exp_avg_sq", "step")}
    assert set(state.tensors) == expected
    assert state.document["class"] is None
    assert state.document["groups"][0]["options"]["betas"] == [0.9, 0.999]


def test_groups_are_named_where_shapes_tell_them_apart(tmp_path: Path) -> None:
    """Weights with decay, the others without: as most training scripts for transformers do."""
    net = _net()
    wide = [p for p in net.parameters() if p.dim() > 1]
    flat = [p for p in net.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": wide, "weight_decay": 0.1}, {"params": flat, "weight_decay": 0.0}])
    _train(net, optimizer)
    done = _convert(tmp_path, {"model": net.state_dict(), "optimizer": optimizer.state_dict()})
    groups = read_optimizer_state(done.path).document["groups"]
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    assert [group["parameters"] for group in groups] == [[names[id(p)] for p in part] for part in (wide, flat)]
    assert [group["options"]["weight_decay"] for group in groups] == [0.1, 0.0]


def _equal_layers() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))


def test_groups_that_could_be_named_in_two_ways_keep_their_numbers(tmp_path: Path) -> None:
    net = _equal_layers()
    first, second = net.parameters()
    groups: list[dict[str, Any]] = [{"params": [second]}, {"params": [first], "lr": 0.5}]
    optimizer = torch.optim.Adam(groups)
    _train(net, optimizer)
    done = _convert(tmp_path, {"model": net.state_dict(), "optimizer": optimizer.state_dict()})
    assert list(done.slots) == ["trainer/source_optimizer"]
    with pytest.raises(RestoreError):
        read_optimizer_state(done.path)
    state = read_optimizer_state(done.path, name="source_optimizer")
    assert _same(numbered_state_dict(state), optimizer.state_dict())
    with pytest.raises(RestoreError):
        restore_optimizer(optimizer, net, state)


def test_names_that_the_source_gives_are_believed(tmp_path: Path) -> None:
    net = _equal_layers()
    names, parameters = zip(*reversed(list(net.named_parameters())), strict=True)
    groups: Any = [{"params": [(name, p)]} for name, p in zip(names, parameters, strict=True)]
    optimizer = torch.optim.Adam(groups)
    _train(net, optimizer)
    done = _convert(tmp_path, {"model": net.state_dict(), "optimizer": optimizer.state_dict()})
    state = read_optimizer_state(done.path)
    assert [group["parameters"] for group in state.document["groups"]] == [[name] for name in names]
    assert torch.equal(state.tensors["1.weight/exp_avg"], optimizer.state[parameters[0]]["exp_avg"])


def test_text_instead_of_numbers_is_a_name(tmp_path: Path) -> None:
    """As `torch.distributed.checkpoint.state_dict` writes it."""
    moments = {"step": torch.tensor(2.0), "exp_avg": torch.rand(2)}
    optimizer = {"state": {"b": moments}, "param_groups": [{"lr": 0.1, "params": ["b", "a"]}]}
    done = _convert(tmp_path, {"model": {"a": torch.ones(2), "b": torch.ones(2)}, "optim": optimizer})
    state = read_optimizer_state(done.path)
    assert torch.equal(state.tensors["b/exp_avg"], moments["exp_avg"])
    assert state.document["groups"][0]["parameters"] == ["b", "a"]


def _shaped(*shapes: tuple[int, ...]) -> dict[str, Any]:
    """The state of an optimizer over parameters of these shapes."""
    state = {at: {"exp_avg": torch.rand(shape)} for at, shape in enumerate(shapes)}
    return {"state": state, "param_groups": [{"lr": 0.1, "params": list(range(len(shapes)))}]}


def test_parameter_that_was_not_trained_is_passed_over_where_shapes_say_so(tmp_path: Path) -> None:
    model = {"frozen": torch.ones(5), "a": torch.ones(2), "b": torch.ones(3)}
    done = _convert(tmp_path, {"model": model, "optimizer": _shaped((2,), (3,))})
    assert set(read_optimizer_state(done.path).tensors) == {"a/exp_avg", "b/exp_avg"}


@pytest.mark.parametrize(
    "model",
    [
        {"a": torch.ones(2), "b": torch.ones(3), "c": torch.ones(2)},
        {"a": torch.ones(3), "b": torch.ones(2)},
        {"a": torch.ones(2)},
    ],
    ids=["one of two was not trained", "another order", "too few"],
)
def test_slots_that_fit_in_no_way_or_in_several_keep_their_numbers(tmp_path: Path, model: dict[str, Tensor]) -> None:
    shapes = ((2,),) if len(model) == 3 else ((2,), (3,))
    done = _convert(tmp_path, {"model": model, "optimizer": _shaped(*shapes)})
    assert list(done.slots) == ["trainer/source_optimizer"]


def test_optimizer_that_may_be_another_network_of_the_same_shape_keeps_its_numbers(tmp_path: Path) -> None:
    value = {"left": {"x": torch.ones(2)}, "right": {"y": torch.ones(2)}, "optimizer": _shaped((2,))}
    done = _convert(tmp_path, value, state_path="root['left']")
    assert list(done.slots) == ["trainer/source_optimizer"]


def test_average_of_the_weights_does_not_make_an_optimizer_ambiguous(tmp_path: Path) -> None:
    value = {"model": {"x": torch.ones(2)}, "ema": {"x": torch.zeros(2)}, "optimizer": _shaped((2,))}
    done = _convert(tmp_path, value, state_path="root['ema']")
    assert list(done.slots) == ["trainer/optimizer"]


def test_two_optimizers_that_may_be_of_one_network_keep_their_numbers(tmp_path: Path) -> None:
    first, second = _shaped((2,)), _shaped((2,))
    value = {"q1": {"x": torch.ones(2)}, "q2": {"x": torch.ones(2)}, "q1_optimizer": first, "q2 Optimizer": second}
    done = _convert(tmp_path, value, state_path="root['q2']")
    assert list(done.slots) == ["trainer/q1_optimizer", "trainer/q2_optimizer"]
    kept = numbered_state_dict(read_optimizer_state(done.path, name="q2_optimizer"))
    assert _same(kept, second)


def test_optimizers_of_parts_are_named_by_their_part(tmp_path: Path) -> None:
    value = {
        "actor": {"w": torch.ones(2, 2), "b": torch.ones(2)},
        "critic": {"w": torch.ones(1, 2), "b": torch.ones(1)},
        "optimizer_states": [_shaped((2, 2), (2,)), _shaped((1, 2), (1,))],
    }
    done = _convert(tmp_path, value, state_path="root")
    first = read_optimizer_state(done.path, name="optimizer_states_0")
    second = read_optimizer_state(done.path, name="optimizer_states_1")
    assert set(first.tensors) == {"actor.w/exp_avg", "actor.b/exp_avg"}
    assert set(second.tensors) == {"critic.w/exp_avg", "critic.b/exp_avg"}


def test_tied_parameters_count_once(tmp_path: Path) -> None:
    weight = torch.ones(2, 2)
    value = {"model": {"in": weight, "out": weight, "b": torch.ones(2)}, "optimizer": _shaped((2, 2), (2,))}
    done = _convert(tmp_path, value)
    assert set(read_optimizer_state(done.path).tensors) == {"in/exp_avg", "b/exp_avg"}


def test_slots_follow_renamed_and_dropped_parameters(tmp_path: Path) -> None:
    rules = parse_key_map(b"- {match: 'net\\.(.*)', to: 'body.\\1'}\n- {match: head, drop: not needed}", name="r.yaml")
    value = {"model": {"net.w": torch.ones(2), "head": torch.ones(3)}, "optimizer": _shaped((2,), (3,))}
    done = _convert(tmp_path, value, key_map=rules)
    state = read_optimizer_state(done.path)
    assert torch.equal(state.tensors["body.w/exp_avg"], value["optimizer"]["state"][0]["exp_avg"])
    assert set(state.tensors) == {"body.w/exp_avg"}
    assert state.document["groups"][0]["parameters"] == ["body.w"]


def test_another_class_of_optimizer_is_refused_by_its_options(tmp_path: Path) -> None:
    net = _net()
    optimizer = torch.optim.Adam(net.parameters())
    torch.optim.lr_scheduler.StepLR(optimizer, 3)  # adds an option of its own
    _train(net, optimizer)
    done = _convert(tmp_path, {"model": net.state_dict(), "optimizer": optimizer.state_dict()})
    state = read_optimizer_state(done.path)
    restore_optimizer(torch.optim.AdamW(net.parameters()), net, state)
    with pytest.raises(RestoreError):
        restore_optimizer(torch.optim.SGD(net.parameters()), net, state)
    with pytest.raises(RestoreError):
        numbered_state_dict(state)


@pytest.mark.parametrize(
    "optimizer",
    [
        {"state": {0: {"exp_avg": torch.eye(2).to_sparse()}}, "param_groups": [{"params": [0]}]},
        {"state": {7: {"exp_avg": torch.ones(2)}}, "param_groups": [{"params": [0]}]},
        {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"params": [0, 0]}]},
        {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"params": [0, "0"]}]},
        {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": 3},
        {"state": [torch.ones(2)], "param_groups": [{"params": [0]}]},
        {"state": {0: {"a\n": torch.ones(2)}}, "param_groups": [{"params": [0]}]},
    ],
)
def test_optimizer_of_another_form_is_left_out_and_told_once(tmp_path: Path, optimizer: dict[str, Any]) -> None:
    done = _convert(tmp_path, {"model": {"a": torch.ones(2)}, "optimizer": optimizer})
    assert done.slots == {}
    assert _members(done.path) == []
    assert [loss for loss in done.losses if loss.became.startswith("left out")]


def test_optimizer_goes_with_the_rest_where_only_weights_are_asked_for(tmp_path: Path) -> None:
    value = {"model": {"a": torch.ones(2)}, "optimizer": _shaped((2,))}
    assert _convert(tmp_path, value, weights_only=True).slots == {}
    assert _convert(tmp_path, value, drop=["root['optimizer']"]).slots == {}
    done = convert_checkpoint(tmp_path / "old.pt", tmp_path / "new.safetensors")
    assert set(load_file(done.path)) == {"a"}
    assert [loss.became for loss in done.losses if loss.path.startswith("root['optimizer']")][-1] == "left out"


def test_what_is_left_out_is_told_once_for_each_place(tmp_path: Path) -> None:
    buffers = [{"seen": torch.ones(4), "done": torch.ones(4)} for _ in range(20)]
    value = {"model": {"a": torch.ones(2)}, "replay": buffers, "rng": torch.ones(9), "pair": [torch.ones(3)] * 2}
    told = {loss.path: loss.was for loss in _convert(tmp_path, value).losses if loss.became == "left out"}
    assert list(told) == ["root['replay']", "root['rng']", "root['pair']"]
    assert told["root['replay']"].startswith("40 tensors")


def test_every_slot_arrives_bit_by_bit(tmp_path: Path) -> None:
    slots = {
        "halves": torch.rand(2, 2).to(torch.bfloat16),
        "turned": torch.rand(3, 2).t(),
        "nan": torch.tensor([float("nan"), -0.0]),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "step": 3,
        "empty": None,
    }
    value = {"model": {"a": torch.ones(2, 2)}, "optimizer": {"state": {0: slots}, "param_groups": [{"params": [0]}]}}
    state = read_optimizer_state(_convert(tmp_path, value).path)
    for slot, tensor in slots.items():
        if isinstance(tensor, Tensor):
            assert _same(state.tensors[f"a/{slot}"], tensor)
    assert state.document["scalars"] == {"a/step": 3}


def _orders(groups: list[list[int]], count: int) -> Iterable[list[tuple[int, int] | None]]:
    """Every way in which the parameters of groups may stand in a row of so many, each group in its order."""
    places = [(at, number) for at, group in enumerate(groups) for number in range(len(group))]
    for order in set(itertools.permutations([*places, *[None] * (count - len(places))])):
        numbers = [[place[1] for place in order if place and place[0] == at] for at in range(len(groups))]
        if all(row == sorted(row) for row in numbers):
            yield list(order)


@pytest.mark.parametrize("seed", range(60))
def test_names_are_given_exactly_where_there_is_one_way(seed: int) -> None:
    """Against a search that tries every order of few parameters."""
    from mpt_format.convert._optimizer import _assign

    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 4, (5,), generator=generator).tolist()
    count = int(torch.randint(2, 6, (1,), generator=generator))
    parted = int(torch.randint(0, count + 1, (1,), generator=generator))
    spare = int(torch.randint(0, 2, (1,), generator=generator))
    numbers = [int(n) for n in torch.randint(1, 4, (count - spare,), generator=generator)]
    groups = [numbers[:parted], numbers[parted:]]
    shapes: list[list[set[tuple[int, ...]]]] = [[{(n,)} if n < 3 else set() for n in group] for group in groups]
    row: list[tuple[int, ...]] = [(size,) for size in sizes[:count]]
    ways = [
        order
        for order in _orders(groups, count)
        if all(
            place is None or not shapes[place[0]][place[1]] or shape in shapes[place[0]][place[1]]
            for place, shape in zip(order, row, strict=True)
        )
    ]
    assert _assign(shapes, row, spare) == (ways[0] if len(ways) == 1 else None)


def test_account_names_the_member_and_how_slots_were_named(tmp_path: Path) -> None:
    value = {"model": {"a": torch.ones(2)}, "optimizer": _shaped((2,))}
    done = _convert(tmp_path, value)
    (loss,) = [loss for loss in done.losses if loss.path == "root['optimizer']"]
    assert loss.became.startswith("trainer/optimizer")
    assert json.loads(json.dumps(done.to_json()))["slots"] == {"trainer/optimizer": 1}


def test_thousands_of_groups_and_of_optimizers_end_soon(tmp_path: Path) -> None:
    count = 3000
    model = {f"w{at}": torch.ones(2) for at in range(count)}
    every = {"state": {}, "param_groups": [{"lr": 0.1, "params": [at]} for at in range(count)]}
    many = [{"state": {}, "param_groups": [{"lr": 0.1, "params": [at]}]} for at in range(count)]
    assert list(_convert(tmp_path, {"model": model, "optimizer": every}).slots) == ["trainer/source_optimizer"]
    assert len(_convert(tmp_path, {"model": model, "optimizers": many}).slots) == 64
