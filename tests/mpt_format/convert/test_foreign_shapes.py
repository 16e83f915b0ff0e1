"""Shapes that training programs write: what is taken for the state dict, what is kept beside it, what is refused."""

from __future__ import annotations

import datetime as dt
import json
import random
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from mpt_format import ConversionError, audit_checkpoint, convert_checkpoint, open_archive


def _convert(tmp_path: Path, value: Any, **options: Any) -> tuple[dict[str, Any], Any]:
    torch.save(value, tmp_path / "source.pt")
    done = convert_checkpoint(tmp_path / "source.pt", tmp_path / "out.mpt", **options)
    with open_archive(tmp_path / "out.mpt") as archive:
        document = archive.read_json("training.json")
    assert isinstance(document, dict)
    rest = document["converted_from"]
    return {loss.path: loss for loss in done.losses}, rest


def _refusals(tmp_path: Path, value: Any, **options: Any) -> str:
    torch.save(value, tmp_path / "source.pt")
    with pytest.raises(ConversionError) as caught:
        convert_checkpoint(tmp_path / "source.pt", tmp_path / "out.mpt", **options)
    assert not (tmp_path / "out.mpt").exists()
    return str(caught.value)


def _trained() -> tuple[torch.nn.Module, dict[str, Any]]:
    """A model, and what Adam would give as its state."""
    moments = {"step": torch.tensor(1.0), "exp_avg": torch.ones(2, 3), "exp_avg_sq": torch.ones(2, 3)}
    return torch.nn.Linear(3, 2), {"state": {0: moments}, "param_groups": [{"lr": 0.001, "params": [0]}]}


def test_optimizer_under_any_name_is_no_state_dict(tmp_path: Path) -> None:
    model, optimizer = _trained()
    losses, rest = _convert(tmp_path, {"net": model.state_dict(), "opt": optimizer})
    assert rest["opt"] is None  # it is kept in the folder of the trainer
    assert [path for path in losses if "opt" in path] == ["root['opt']"]


def test_optimizer_alone_is_refused_as_one(tmp_path: Path) -> None:
    assert "optimizer" in _refusals(tmp_path, _trained()[1])


@pytest.mark.parametrize("state_path", ["root['nope']", "root['step']"])
def test_wrong_state_path_names_the_right_one(tmp_path: Path, state_path: str) -> None:
    text = _refusals(tmp_path, {"net": _trained()[0].state_dict(), "step": 3}, state_path=state_path)
    assert "root['net']" in text


class Outer:
    def __init__(self) -> None:
        self.inner = Inner()


class Inner:
    def __init__(self) -> None:
        self.dice = random.Random(0)


def test_what_a_refused_object_holds_is_refused_in_the_same_run(tmp_path: Path) -> None:
    text = _refusals(tmp_path, {"net": _trained()[0].state_dict(), "run": Outer()})
    assert "root['run'].inner.dice:" in text and "root['run'].inner:" in text and "root['run']:" in text
    assert "--weights-only" in text


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 20, 1 << 20)])
def test_view_that_repeats_a_few_bytes_for_ever_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert "root['w']" in _refusals(tmp_path, {"w": torch.ones(1).expand(shape), "v": torch.ones(2)})


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
def test_views_of_every_element_size_are_gathered_right(tmp_path: Path, dtype: torch.dtype) -> None:
    base = torch.arange(2 * 3 * 4 * 5).to(dtype).reshape(2, 3, 4, 5)
    state = {
        "permuted": base.permute(3, 1, 0, 2),
        "stepped": base[:, ::2, :, 1::3],
        "repeated": base[0, 0, 0, :1].expand(4, 3),
        "rows": base[1, 2].t()[2:4],
    }
    torch.save({name: view.clone(memory_format=torch.preserve_format) for name, view in state.items()}, tmp_path / "c")
    torch.save(state, tmp_path / "source.pt")
    for name in ("source.pt", "c"):
        convert_checkpoint(tmp_path / name, tmp_path / "out.mpt")
        with open_archive(tmp_path / "out.mpt") as archive:
            read = archive.read_tensors()
        assert all(torch.equal(read[key], view) for key, view in state.items())


def test_time_keeps_its_zone(tmp_path: Path) -> None:
    at = dt.time(1, 2, 3, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    _, rest = _convert(tmp_path, {"net": _trained()[0].state_dict(), "at": at})
    assert dt.time.fromisoformat(rest["at"]) == at


def test_omegaconf_becomes_plain_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("omegaconf")
    classes = {name: type(name, (), {"__module__": "omegaconf"}) for name in ("DictConfig", "ListConfig", "AnyNode")}
    for name, cls in classes.items():
        setattr(module, name, cls)
    monkeypatch.setitem(sys.modules, "omegaconf", module)

    def node(kind: str, **state: Any) -> Any:
        made = classes[kind]()
        made.__dict__.update(state, _metadata={"flags": None})
        return made

    numbers = node("ListConfig", _content=[node("AnyNode", _val=1), node("AnyNode", _val="${rate}")])
    config = node("DictConfig", _content={"rate": node("AnyNode", _val=0.5), "layers": numbers})
    losses, rest = _convert(tmp_path, {"net": _trained()[0].state_dict(), "config": config})
    assert rest["config"] == {"rate": 0.5, "layers": [1, "${rate}"]}
    assert [path for path in losses if "config" in path] == ["root['config']"]


@pytest.mark.parametrize("name", ["ppo", "morphogenetic", "blending", "holding", "legacy"])
def test_every_generated_checkpoint_is_converted_and_then_ok(tmp_path: Path, name: str) -> None:
    (entry,) = entry_points(group="mpt.checkpoint_generators", name=name)
    entry.load()(tmp_path / "careless.pt")
    assert audit_checkpoint(tmp_path / "careless.pt").verdict == "incompatible"
    done = convert_checkpoint(
        tmp_path / "careless.pt", tmp_path / "clean.mpt", as_fields=True, state_path="root['model_state_dict']"
    )
    assert done.audit.verdict == "ok"
    assert audit_checkpoint(tmp_path / "clean.mpt").verdict == "ok"


def test_several_state_dicts_are_taken_together_where_their_mapping_is_named(tmp_path: Path) -> None:
    """As rl_games keeps the statistics of observations beside the network, both needed to act."""
    state: dict[str, Any] = {"model": {"0.weight": torch.rand(2, 2)}, "statistics": {"mean": torch.rand(2)}, "epoch": 3}
    state["optimizer"] = {"state": {0: {"exp_avg": torch.rand(2, 2)}}, "param_groups": [{"params": [0]}]}
    torch.save({0: state}, tmp_path / "agent.pth")
    with pytest.raises(ConversionError, match="--state-path root"):
        convert_checkpoint(tmp_path / "agent.pth", tmp_path / "agent.mpt")
    done = convert_checkpoint(tmp_path / "agent.pth", tmp_path / "agent.mpt", state_path="root[0]")
    with open_archive(tmp_path / "agent.mpt") as archive:
        read = archive.read_tensors()
        rest = json.loads(archive.read_member("training.json"))["converted_from"]["0"]
    assert set(read) == {"model.0.weight", "statistics.mean"}
    assert torch.equal(read["statistics.mean"], state["statistics"]["mean"])
    assert (rest["epoch"], rest["model"]) == (3, None)
    assert "root[0]['optimizer']" in {loss.path for loss in done.losses}


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental:UserWarning")
def test_dtypes_that_the_archive_does_not_have_keep_their_bytes(tmp_path: Path) -> None:
    pairs = torch.randn(3, 4, dtype=torch.complex64).to(torch.complex32)
    packed = torch.arange(8, dtype=torch.uint8).reshape(2, 4)
    value = {"pairs": pairs, "turned": pairs.T, "four": packed.view(torch.float4_e2m1fn_x2)}
    torch.save(value, tmp_path / "source.pt")
    done = convert_checkpoint(tmp_path / "source.pt", tmp_path / "out.mpt")
    losses = {loss.path: loss for loss in done.losses}
    assert losses["root['pairs']"].was == "a tensor of complex32"
    assert losses["root['four']"].became == "the same bytes as U8"
    with open_archive(tmp_path / "out.mpt") as archive:
        kept = archive.read_tensors()
    assert torch.equal(kept["pairs"], torch.view_as_real(pairs))
    assert torch.equal(kept["turned"], torch.view_as_real(pairs.T))
    assert torch.equal(kept["four"], packed)
