"""Foreign checkpoints become archives: bit by bit, with aliases, losses and refusals told."""

from __future__ import annotations

import collections
import datetime as dt
import json
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mpt_format import ArchiveWriteError, ConversionError, convert_checkpoint, open_archive
from mpt_format.convert import KeyMap, parse_key_map
from safetensors.torch import load_file, save_file
from torch import nn

from tests.mpt_format.audit.corpus import Metrics, Net, OrderedConfig, SlottedState, Stage


def _save(tmp_path: Path, value: Any, **options: Any) -> Path:
    path = tmp_path / "source.pt"
    torch.save(value, path, **options)
    return path


def _same(left: torch.Tensor, right: torch.Tensor) -> bool:
    same_form = left.dtype == right.dtype and left.shape == right.shape
    return same_form and bytes(_raw(left)) == bytes(_raw(right))


def _raw(tensor: torch.Tensor) -> list[int]:
    flat = tensor.contiguous().reshape(-1)
    return flat.view(torch.uint8).tolist()


def _every_dtype() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = {}
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int8,
                  torch.int64, torch.uint16, torch.bool, torch.complex64):  # fmt: skip
        raw = torch.randint(0, 256, (6 * dtype.itemsize,), dtype=torch.uint8, generator=generator)
        made[str(dtype)] = (raw & 1).view(dtype) if dtype is torch.bool else raw.view(dtype).reshape(2, 3)
    made["nan"] = torch.tensor([math.nan, -math.nan, math.inf, -0.0])
    return made


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("suffix", [".mpt", ".safetensors"])
def test_every_dtype_arrives_bit_by_bit(tmp_path: Path, zipped: bool, suffix: str) -> None:
    state = _every_dtype()
    source = _save(tmp_path, state, _use_new_zipfile_serialization=zipped)
    done = convert_checkpoint(source, tmp_path / f"out{suffix}")
    if suffix == ".mpt":
        with open_archive(done.path) as archive:
            read = archive.read_tensors()
            assert all(_same(read[name], tensor) for name, tensor in state.items())
    else:
        read = load_file(done.path)
        assert all(_same(read[name], tensor) for name, tensor in state.items())
    assert set(done.digests) == set(state)
    assert done.audit.verdict == "ok"


def test_strided_expanded_and_offset_views_arrive_as_their_values(tmp_path: Path) -> None:
    base = torch.arange(60.0).reshape(3, 4, 5)
    state = {
        "transposed": base.clone().permute(2, 0, 1),
        "stepped": base.clone()[:, ::2, 1:],
        "expanded": torch.tensor([1.0, 2.0]).expand(3, 2),
        "scalar": base.clone()[1, 2, 3],
        "empty": torch.empty(0, 3),
    }
    done = convert_checkpoint(_save(tmp_path, state), tmp_path / "out.safetensors")
    read = load_file(done.path)
    assert all(_same(read[name], tensor) for name, tensor in state.items())


def test_tied_and_overlapping_tensors_share_memory_again(tmp_path: Path) -> None:
    weight = torch.arange(12.0).reshape(3, 4)
    done = convert_checkpoint(
        _save(tmp_path, {"a": weight, "b": weight, "row": weight[1], "t": weight.t()}), tmp_path / "out.mpt"
    )
    assert done.aliases == 3
    with open_archive(done.path) as archive:
        read = archive.read_tensors()
    assert read["a"].data_ptr() == read["b"].data_ptr()
    assert read["row"].untyped_storage().data_ptr() == read["a"].untyped_storage().data_ptr()
    assert torch.equal(read["t"], weight.t())


def test_overlapping_views_without_a_whole_are_stored_once(tmp_path: Path) -> None:
    base = torch.arange(10.0)
    done = convert_checkpoint(_save(tmp_path, {"left": base[:6], "right": base[4:]}), tmp_path / "out.mpt")
    with open_archive(done.path) as archive:
        read = archive.read_tensors()
    assert torch.equal(read["left"], base[:6])
    assert torch.equal(read["right"], base[4:])


def test_disjoint_slices_of_one_storage_are_stored_each(tmp_path: Path) -> None:
    base = torch.arange(10.0)
    done = convert_checkpoint(_save(tmp_path, {"left": base[:5], "right": base[5:]}), tmp_path / "out.mpt")
    assert done.aliases == 0
    with open_archive(done.path) as archive:
        assert torch.equal(archive.read_tensors()["right"], base[5:])


@pytest.mark.parametrize("zipped", [True, False])
def test_whole_pickled_module_gives_its_state_dict(tmp_path: Path, zipped: bool) -> None:
    net = Net()
    source = _save(tmp_path, {"net": net}, _use_new_zipfile_serialization=zipped)
    done = convert_checkpoint(source, tmp_path / "out.mpt", state_path="root['net']", weights_only=True)
    with open_archive(done.path) as archive:
        read = archive.read_tensors()
        kinds = {name: record.kind for name, record in archive.tensors.items()}
    assert set(read) == set(net.state_dict())
    assert all(torch.equal(read[name], tensor) for name, tensor in net.state_dict().items())
    assert kinds["mean"] == "buffer"


def test_torchscript_archive_gives_its_weights(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh()).eval()
    weight = torch.arange(6.0).reshape(3, 2)
    path = tmp_path / "script.pt"
    # The layout of torch.jit.save with its records written by hand: the compiler itself is deprecated and warns.
    _write_torchscript(path, weight)
    done = convert_checkpoint(path, tmp_path / "out.safetensors", weights_only=True)
    assert set(load_file(done.path)) == {"0.weight"}
    assert torch.equal(load_file(done.path)["0.weight"], weight)
    assert net is not None


def _write_torchscript(path: Path, weight: torch.Tensor) -> None:
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
        b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQK\x00(K\x03K\x02t(K\x02K\x01t\x89ccollections\nOrderedDict\n)RtR"
    )
    inner = b"c__torch__.torch.nn.Linear\nLinear\n)\x81}(X\x06\x00\x00\x00weight" + tensor + b"ub"
    data = b"\x80\x02c__torch__\nSequential\n)\x81}(X\x08\x00\x00\x00training\x89X\x01\x00\x00\x000" + inner + b"ub."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("script/data.pkl", data)
        archive.writestr("script/constants.pkl", b"\x80\x02).")
        archive.writestr("script/code/__torch__.py", "class Sequential(Module):\n  pass\n")
        archive.writestr("script/data/0", weight.numpy().tobytes())


def test_module_versions_are_kept(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    done = convert_checkpoint(_save(tmp_path, net.state_dict()), tmp_path / "out.mpt")
    with open_archive(done.path) as archive:
        assert archive.manifest.modules["1"].version == 2
        fresh = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        fresh.load_state_dict(archive.read_state_dict(), strict=True)
    assert all(torch.equal(left, right) for left, right in zip(fresh.parameters(), net.parameters(), strict=True))


def test_extra_state_of_known_types_becomes_plain_data(tmp_path: Path) -> None:
    state = nn.Linear(2, 2).state_dict()
    state["seed._extra_state"] = {
        "at": dt.datetime(2025, 12, 16, 4, 0, 20, 691796, tzinfo=dt.UTC),
        "history": collections.deque([1, 2], maxlen=5),
        "path": Path("/runs/1"),
        "array": np.arange(4, dtype=np.float32).reshape(2, 2),
        "scalar": np.float64(1.5),
        "tags": {"b", "a"},
        "for": dt.timedelta(seconds=90),
        "counts": collections.Counter("aab"),
    }
    done = convert_checkpoint(_save(tmp_path, {"model_state_dict": state}), tmp_path / "out.mpt")
    with open_archive(done.path) as archive:
        extra = archive.extra_state["seed._extra_state"]
    assert extra == {
        "at": "2025-12-16T04:00:20.691796+00:00",
        "history": {"items": [1, 2], "maxlen": 5},
        "path": "/runs/1",
        "array": [[0.0, 1.0], [2.0, 3.0]],
        "scalar": 1.5,
        "tags": ["a", "b"],
        "for": 90.0,
        "counts": {"a": 2, "b": 1},
    }
    assert dt.datetime.fromisoformat(extra["at"]) == state["seed._extra_state"]["at"]
    lost = {loss.path for loss in done.losses}
    assert "root['model_state_dict']['seed._extra_state']['history']" in lost


def test_timestamps_are_kept_as_numbers_when_asked(tmp_path: Path) -> None:
    at = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    source = _save(tmp_path, {"state_dict": {"w": torch.ones(1)}, "at": at})
    done = convert_checkpoint(source, tmp_path / "out.mpt", timestamps=True)
    with open_archive(done.path) as archive:
        assert archive.read_json("training.json") == {"converted_from": {"state_dict": None, "at": at.timestamp()}}


def test_objects_of_unknown_classes_are_refused_with_every_path(tmp_path: Path) -> None:
    state = {"state_dict": {"w": torch.ones(1)}, "state": SlottedState(), "metrics": [Metrics()]}
    with pytest.raises(ConversionError) as caught:
        convert_checkpoint(_save(tmp_path, state), tmp_path / "out.mpt")
    assert "root['state']" in str(caught.value)
    assert "root['metrics'][0]" in str(caught.value)
    assert not (tmp_path / "out.mpt").exists()


def test_objects_become_fields_or_are_dropped_when_asked(tmp_path: Path) -> None:
    state = {
        "state_dict": {"w": torch.ones(1)},
        "metrics": Metrics(),
        "config": OrderedConfig(a=1),
        "s": Stage.TRAINING,
    }
    source = _save(tmp_path, state)
    done = convert_checkpoint(source, tmp_path / "fields.mpt", as_fields=True)
    with open_archive(done.path) as archive:
        kept = archive.read_json("training.json")
    assert kept == {
        "converted_from": {
            "state_dict": None,
            "metrics": {"accuracy": 0.5, "history": [0.1, 0.2]},
            "config": {"a": 1},
            "s": 2,
        }
    }
    dropped = convert_checkpoint(source, tmp_path / "dropped.mpt", drop=["root['metrics']"])
    assert any(loss.path == "root['metrics']" for loss in dropped.losses)


def test_output_that_cannot_be_written_is_not_laid_on_the_source(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "source.pt")
    with pytest.raises(ArchiveWriteError) as caught:
        convert_checkpoint(tmp_path / "source.pt", tmp_path / "nowhere" / "run.mpt")
    assert caught.value.path == str(tmp_path / "nowhere" / "run.mpt")


def test_dropping_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="nothing to drop"):
        convert_checkpoint(_save(tmp_path, {"w": torch.ones(1)}), tmp_path / "out.mpt", drop=["root['x']"])


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(3).to_sparse(),
        torch.empty(3, device="meta"),
        torch.ones(2, dtype=torch.complex64).conj(),
        torch.ones(2, dtype=torch.complex128),
    ],
    ids=["sparse", "meta", "conjugated", "dtype without a place"],
)
def test_tensors_without_plain_bytes_are_refused_by_path(tmp_path: Path, tensor: torch.Tensor) -> None:
    with pytest.raises(ConversionError) as caught:
        convert_checkpoint(_save(tmp_path, {"w": torch.ones(1), "bad": tensor}), tmp_path / "out.mpt")
    assert "root['bad']" in str(caught.value)


def test_two_state_dicts_are_named_and_not_chosen_from(tmp_path: Path) -> None:
    source = _save(tmp_path, {"actor": {"w": torch.ones(1)}, "critic": {"w": torch.zeros(1)}})
    with pytest.raises(ConversionError) as caught:
        convert_checkpoint(source, tmp_path / "out.mpt")
    assert "root['actor']" in str(caught.value)
    done = convert_checkpoint(source, tmp_path / "out.mpt", state_path="root['critic']", weights_only=True)
    with open_archive(done.path) as archive:
        assert torch.equal(archive.read_tensors()["w"], torch.zeros(1))


def test_optimizer_state_is_not_taken_for_the_model(tmp_path: Path) -> None:
    net = Net()
    optimizer = torch.optim.Adam(net.parameters())
    net.body(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    done = convert_checkpoint(
        _save(tmp_path, {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}),
        tmp_path / "out.mpt",
    )
    assert done.state_path == "root['model']"
    assert set(done.tensors) == set(net.state_dict())


def test_architecture_rules_and_losses_are_written_as_given(tmp_path: Path) -> None:
    architecture: dict[str, Any] = {"kind": "mlp_actor_critic", "schema_version": 2, "config": {"layer_widths": [4]}}
    done = convert_checkpoint(
        _save(tmp_path, {"model": {"w": torch.ones(1)}, "t": (1, 2)}),
        tmp_path / "out.mpt",
        architecture=architecture,
        game_rules={"name": "made for a test"},
    )
    with open_archive(done.path) as archive:
        assert archive.architecture == architecture
        assert archive.game_rules == {"name": "made for a test"}
        conversion: Any = (archive.manifest.lineage or {})["conversion"]
    assert conversion["losses"] == [{"path": "root['t']", "was": "a tuple", "became": "a list"}]
    assert conversion["source"]["state_path"] == "root['model']"


def test_predecessors_archive_is_read(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    save_file({"a": torch.arange(3.0), "b": torch.ones(2, dtype=torch.int64)}, weights)
    source = tmp_path / "old.mpt"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(weights, "weights.safetensors")
        archive.writestr("modelarchitecture.txt", "package.policies.ViTConfig(layers=2)")
    done = convert_checkpoint(source, tmp_path / "new.mpt")
    with open_archive(done.path) as archive:
        assert torch.equal(archive.read_tensors()["a"], torch.arange(3.0))
        kept = archive.read_json("training.json")
    assert kept == {"converted_from": {"modelarchitecture": "package.policies.ViTConfig(layers=2)"}}


def test_safetensors_and_todays_archive_are_sources_too(tmp_path: Path) -> None:
    save_file({"a": torch.arange(3.0)}, tmp_path / "in.safetensors")
    first = convert_checkpoint(tmp_path / "in.safetensors", tmp_path / "one.mpt")
    second = convert_checkpoint(first.path, tmp_path / "two.safetensors")
    assert torch.equal(load_file(second.path)["a"], torch.arange(3.0))
    assert first.digests == second.digests


def test_plain_pickle_of_a_numpy_state_dict_is_converted(tmp_path: Path) -> None:
    source = tmp_path / "state.pkl"
    array = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    source.write_bytes(pickle.dumps({"w": array, "b": np.arange(2)}, protocol=4))
    done = convert_checkpoint(source, tmp_path / "out.safetensors")
    assert np.array_equal(load_file(done.path)["w"].numpy(), array)


def test_malformed_file_is_refused(tmp_path: Path) -> None:
    source = _save(tmp_path, {"w": torch.ones(1000)})
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 2])
    with pytest.raises(ConversionError, match="malformed"):
        convert_checkpoint(source, tmp_path / "out.mpt")


def test_source_is_left_as_it_was(tmp_path: Path) -> None:
    source = _save(tmp_path, {"w": torch.ones(3)})
    before = source.read_bytes()
    convert_checkpoint(source, tmp_path / "out.mpt")
    assert source.read_bytes() == before


def test_key_map_renames_drops_and_refuses() -> None:
    rules = parse_key_map(
        rb"""
unmatched: refuse
rules:
  - match: 'module\.(.*)\.weight'
    to: '\1.kernel'
  - match: 'unused\..*'
    drop: it is not needed
""",
        name="rules.yaml",
    )
    renamed, dropped, problems = rules.apply(["module.a.weight", "unused.b", "other"])
    assert renamed == {"module.a.weight": "a.kernel"}
    assert dropped == {"unused.b": "it is not needed"}
    assert len(problems) == 1


def test_two_keys_that_become_one_are_a_problem() -> None:
    rules = parse_key_map(b"- match: '[ab]'\n  to: c\n", name="rules.yaml")
    assert len(rules.apply(["a", "b"])[2]) == 1


@pytest.mark.parametrize(
    "text",
    [
        b"rules: 3",
        b"- match: '('\n  to: x",
        b"- to: x",
        b"- match: a\n  to: b\n  drop: c",
        b"unmatched: maybe\nrules: []",
    ],
)
def test_malformed_rules_file_is_refused(text: bytes) -> None:
    with pytest.raises(ConversionError):
        parse_key_map(text, name="rules.yaml")


def test_key_map_without_rules_keeps_every_key() -> None:
    assert KeyMap().apply(["a"]) == ({"a": "a"}, {}, [])


def test_conversion_is_plain_json(tmp_path: Path) -> None:
    done = convert_checkpoint(_save(tmp_path, {"w": torch.ones(1)}), tmp_path / "out.mpt")
    assert json.loads(json.dumps(done.to_json()))["verdict"] == "ok"
