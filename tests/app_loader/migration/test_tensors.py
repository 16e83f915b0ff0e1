"""Operations on lazy tensors: what they compute, what they refuse, and that undoing gives the bytes back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from app_loader.errors import MigrationError
from app_loader.revisions.lazy import LazyTensor
from app_loader.revisions.tensors import TensorState, apply_tensor_ops
from policy_interface.migrations import (
    Add,
    Alias,
    Cat,
    Choose,
    Drop,
    Function,
    Reindex,
    Rename,
    Reshape,
    Resize,
    Split,
    Stack,
    Transpose,
    Unstack,
)
from torch import Tensor


def state_of(**tensors: Tensor) -> TensorState:
    return TensorState.of({key.replace("__", "."): LazyTensor.of(tensor) for key, tensor in tensors.items()})


def computed(state: TensorState) -> dict[str, Tensor]:
    return {key: lazy.make() for key, lazy in state.tensors.items()}


def apply(state: TensorState, *ops: Any) -> dict[str, Tensor]:
    apply_tensor_ops(state, ops, {"shift": 1}, subject="test")
    return computed(state)


def weights(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def roll(tensor: Tensor, config: Any) -> Tensor:
    return tensor.roll(config["shift"], 0)


def roll_back(tensor: Tensor, config: Any) -> Tensor:
    return tensor.roll(-config["shift"], 0)


def everything() -> dict[str, Tensor]:
    q, k, v, a, b, w = weights((2, 4), (3, 4), (1, 4), (5, 5), (5, 5), (4, 6))
    return {"q": q, "k": k, "v": v, "layers__0__w": a, "layers__1__w": b, "old__w": w, "e__0": a + 1, "e__1": b + 1}


PLAN = (
    Cat(parts=("q", "k", "v"), whole="qkv", sizes=(2, 3, 1)),
    Reindex(path="layers", numbers=((0, 1), (1, 0))),
    Rename(old="old.{rest...}", new="new.deep.{rest...}"),
    Transpose(key="new.deep.w"),
    Reshape(key="new.deep.w", old=(6, 4), new=(2, 3, 4)),
    Stack(parts=("e.0", "e.1"), whole="e"),
    Resize(key="layers.0.w", dim=0, policy="append", by=2, value=-7.0),
    Function(name="roll", keys="layers.1.w", apply=roll, undo=roll_back, linear=True),
)


def test_a_plan_and_its_inverse_give_the_same_bytes() -> None:
    before = everything()
    state = state_of(**before)
    apply(state, *PLAN)
    after = apply(state, *(op.inverted() for op in reversed(PLAN)))
    assert after.keys() == {key.replace("__", ".") for key in before}
    for key, tensor in before.items():
        assert torch.equal(after[key.replace("__", ".")], tensor)


def test_shapes_are_known_before_anything_is_computed() -> None:
    asked: list[str] = []

    def make() -> Tensor:
        asked.append("computed")
        return torch.ones(2, 4)

    state = TensorState.of({"a": LazyTensor(meta=torch.empty(2, 4, device="meta"), make=make)})
    apply_tensor_ops(state, [Transpose(key="a")], {}, subject="test")
    assert state.tensors["a"].shape == (4, 2)
    assert asked == []


def test_every_key_tells_what_it_was_made_of() -> None:
    state = state_of(**everything())
    apply(state, *PLAN, Add(key="gain", shape=(2,), init="ones", reason="new"))
    assert state.sources["qkv"] == ("q", "k", "v")
    assert state.sources["layers.1.w"] == ("layers.0.w",)
    assert state.sources["gain"] == ()


def test_a_split_takes_apart_what_a_cat_joined() -> None:
    whole, *parts = weights((6, 4), (1, 1))
    found = apply(state_of(w=whole), Split(whole="w", parts=("a", "b"), sizes=(4, 2)))
    assert torch.equal(torch.cat([found["a"], found["b"]]), whole)
    assert parts[0].shape == (1, 1)


def test_unstacking_needs_as_many_parts_as_there_are() -> None:
    with pytest.raises(MigrationError):
        apply(state_of(w=torch.ones(3, 2)), Unstack(whole="w", parts=("a", "b")))


def test_one_number_is_repeated_and_taken_back() -> None:
    state = state_of(gain=torch.tensor([2.0]), w=torch.ones(5, 3))
    grow = Resize(key="gain", dim=0, policy="repeat", like="w")
    assert torch.equal(apply(state, grow)["gain"], torch.full((5,), 2.0))
    assert torch.equal(apply(state, grow.inverted())["gain"], torch.tensor([2.0]))


def test_undoing_refuses_to_lose_what_was_trained_since() -> None:
    undo = Resize(key="w", dim=0, policy="append", by=1, value=0.0).inverted()
    state = state_of(w=torch.ones(3, 2))
    with pytest.raises(RuntimeError):
        apply(state, undo)


def test_an_alias_shares_one_tensor() -> None:
    state = state_of(embed=torch.ones(2))
    apply(state, Alias(key="head", of="embed"))
    assert state.tensors["head"] is state.tensors["embed"]


@pytest.mark.parametrize(
    "op",
    [
        Rename(old="nothing", new="x"),
        Rename(old="a", new="b"),
        Drop(key="nothing", reason=""),
        Cat(parts=("a", "nothing"), whole="ab"),
        Cat(parts=("a", "c"), whole="ac"),
        Reshape(key="a", old=(9,), new=(3, 3)),
        Choose(key="a"),
    ],
    ids=repr,
)
def test_what_does_not_fit_is_refused(op: Any) -> None:
    with pytest.raises(MigrationError):
        apply(state_of(a=torch.ones(2, 2), b=torch.ones(2), c=torch.ones(3)), op)


def test_all_problems_of_a_plan_are_told_at_once() -> None:
    with pytest.raises(MigrationError) as caught:
        apply(state_of(a=torch.ones(1)), Drop(key="x", reason=""), Drop(key="y", reason=""))
    assert len(caught.value.problems) == 2


def test_an_optional_rule_may_fit_nothing() -> None:
    assert apply(state_of(a=torch.ones(1)), Rename(old="x", new="y", optional=True)).keys() == {"a"}


def test_keys_that_share_one_tensor_go_on_sharing_what_is_made_of_it() -> None:
    lazy = LazyTensor.of(torch.ones(2, 3))
    state = TensorState.of({"a.weight": lazy, "b.weight": lazy, "c.weight": LazyTensor.of(torch.ones(2, 3))})
    apply_tensor_ops(state, [Transpose(key="{name}.weight")], {}, subject="test")
    assert state.tensors["a.weight"] is state.tensors["b.weight"]
    assert state.tensors["a.weight"] is not state.tensors["c.weight"]
    assert state.tensors["a.weight"].shape == (3, 2)
