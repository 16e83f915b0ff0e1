"""What a migration computes is computed once, lies in a file without a name, and is what is written."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from app_loader import load_policy, save_policy
from app_loader.errors import MigrationError
from app_loader.migration.spill import Spill
from app_loader.migration.write import migrate_archive
from app_loader.revisions import follow
from app_loader.revisions.lazy import LazyTensor
from app_loader.revisions.route import Route
from click.testing import CliRunner, Result
from history_zoo import revisions_source
from mpt_format import ArchiveContent, ArchiveWriteError, open_archive, write_archive
from mpt_format.cli import mpt
from mpt_format.module_state import ModuleState, share_out

NOWHERE = Route(revisions=(), backwards=False, head=None)


def counted(value: torch.Tensor, calls: list[str]) -> LazyTensor:
    def make() -> torch.Tensor:
        calls.append("made")
        return value

    return LazyTensor(meta=torch.empty_like(value, device="meta"), make=make)


def state_of(path: Path, tensors: dict[str, LazyTensor]) -> Any:
    stored, aliases = share_out({"a": torch.zeros(2)}, {"a": "parameter"})
    document: Any = {"kind": "some", "schema_version": 1, "config": {}}
    write_archive(path, ArchiveContent(state=ModuleState(tensors=stored, aliases=aliases), architecture=document))
    with open_archive(path) as archive:
        migrated = follow(archive, NOWHERE)
    return replace(migrated, tensors=tensors)


def test_a_tensor_is_computed_once_and_mapped_privately_each_time(tmp_path: Path) -> None:
    calls: list[str] = []
    value = torch.arange(6.0).view(2, 3)
    state = state_of(tmp_path / "run.mpt", {"a": counted(value, calls), "given": LazyTensor.of(value)})
    with Spill(tmp_path / "new.mpt", state.tensors) as file:
        file.compute()
        first, second = file.mapped(state).make_state_dict(), file.mapped(state).make_state_dict()
        first["a"].zero_()
        assert torch.equal(second["a"], value)
        assert torch.equal(file.mapped(state).tensors["a"].make(), value)
        assert second["given"] is value
        assert [p.name for p in tmp_path.iterdir()] == ["run.mpt"]
    assert calls == ["made"]
    assert torch.equal(second["a"], value)  # a mapping outlives the file


def test_keys_of_one_computed_tensor_stay_one_tensor(tmp_path: Path) -> None:
    lazy = counted(torch.ones(3), [])
    state = state_of(tmp_path / "run.mpt", {"a": lazy, "b": lazy, "c": counted(torch.ones(3), [])})
    with Spill(tmp_path / "new.mpt", state.tensors) as file:
        file.compute()
        made = file.mapped(state).make_state_dict()
    assert made["a"] is made["b"]
    assert made["a"] is not made["c"]


@pytest.mark.parametrize("shape", [(0, 3), (), (1,), (5, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_a_tensor_of_any_shape_and_type_comes_back_as_it_was(
    tmp_path: Path, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    value = torch.ones(shape).to(dtype)
    state = state_of(tmp_path / "run.mpt", {"x": counted(torch.ones(3), []), "a": counted(value, [])})
    with Spill(tmp_path / "new.mpt", state.tensors) as file:
        file.compute()
        back = file.mapped(state).tensors["a"].make()
    assert back.dtype == dtype
    assert torch.equal(back, value)
    assert back.numel() == 0 or back.data_ptr() % 64 == 0


def test_rows_that_follow_one_another_are_never_together_in_memory(tmp_path: Path) -> None:
    calls: list[str] = []
    parts = tuple(counted(torch.full((2, 3), float(i)), calls) for i in range(3))
    together: list[str] = []

    def join(*tensors: torch.Tensor) -> torch.Tensor:
        together.append(tensors[0].device.type)
        return torch.cat(tensors)

    lazy = LazyTensor.join(parts, join, in_rows=True)
    state = state_of(tmp_path / "run.mpt", {"a": lazy})
    with Spill(tmp_path / "new.mpt", state.tensors) as file:
        file.compute()
        assert torch.equal(file.mapped(state).tensors["a"].make(), torch.cat([part.make() for part in parts]))
    assert together == ["meta"]


def test_parts_of_several_types_are_joined_as_torch_does_it(tmp_path: Path) -> None:
    parts = counted(torch.ones(2, dtype=torch.float32), []), counted(torch.ones(2, dtype=torch.float64), [])
    lazy = LazyTensor.join(parts, lambda *tensors: torch.cat(tensors), in_rows=True)
    state = state_of(tmp_path / "run.mpt", {"a": lazy})
    with Spill(tmp_path / "new.mpt", state.tensors) as file:
        file.compute()
        assert torch.equal(file.mapped(state).tensors["a"].make(), torch.ones(4, dtype=torch.float64))


def test_a_disk_without_room_refuses_before_anything_is_computed(zoo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zoo.save("0.1.0")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 100})())
    with pytest.raises(ArchiveWriteError) as caught:
        migrate_archive(path, zoo.folder / "new.mpt", code="0.3.0", store=zoo.store)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.path == str(zoo.folder / "new.mpt")
    assert not (zoo.folder / "new.mpt").exists()


def test_the_room_that_is_asked_for_is_that_of_the_optimizer_too(zoo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path, target = zoo.save("0.1.0", train_steps=2), zoo.folder / "new.mpt"
    with open_archive(path) as archive:
        sizes = {name: member.size_bytes for name, member in archive.members.items()}
    slots = sizes["trainer/optimizer.safetensors"]
    assert slots > sizes["weights.safetensors"]
    seen: list[int] = []

    def free(folder: Any) -> Any:
        return type("Usage", (), {"free": seen[-1]})()

    def migrate() -> Result:
        arguments = ["migrate", path, "--to", "0.3.0", "-o", target, "--store", zoo.store.path]
        return CliRunner().invoke(mpt, [str(each) for each in arguments])

    monkeypatch.setattr("shutil.disk_usage", free)
    seen.append(path.stat().st_size)  # for the archive, but not for what is computed
    refused = migrate()
    assert refused.exit_code == 1
    assert not target.exists()
    seen.append(path.stat().st_size + 2 * sizes["weights.safetensors"])
    assert migrate().exit_code == 0
    assert target.stat().st_size <= seen[-1]


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(zoo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zoo.save("0.1.0")

    def full(*given: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(ArchiveWriteError) as caught:
        migrate_archive(path, zoo.folder / "new.mpt", code="0.3.0", store=zoo.store)
    assert caught.value.errno == errno.ENOSPC
    assert {p.name for p in zoo.folder.iterdir()} == {"run.mpt", "store", "wheels"}


def test_a_folder_that_is_not_there_is_an_error_of_writing(zoo: Any) -> None:
    with pytest.raises(ArchiveWriteError):
        migrate_archive(zoo.save("0.1.0"), zoo.folder / "no" / "new.mpt", code="0.3.0", store=zoo.store)


def test_code_that_writes_into_its_weights_changes_nothing_that_is_written(zoo: Any) -> None:
    restless = 'x = torch.tanh(self.inp(observation)); self.inp.weight.data += 1; self.__dict__["_"] = 0'
    plain = "x = torch.tanh(self.inp(observation))"
    import history_zoo

    source = history_zoo.policy_source
    path = zoo.save("0.1.0")
    history_zoo.policy_source = lambda version, **more: source(version, **more).replace(plain, restless)
    try:
        zoo.add("0.3.7", revisions=revisions_source())
    finally:
        history_zoo.policy_source = source
    target = zoo.folder / "new.mpt"
    migrate_archive(path, target, code="0.3.7", store=zoo.store, unproven=True)
    with open_archive(path) as old, open_archive(target) as new:
        before, after = old.read_tensors(), new.read_tensors()
    assert torch.equal(after["inp.weight"], before["inp.net.weight"])
    assert torch.equal(after["qkv.weight"], torch.cat([before[f"{n}.weight"] for n in ("query", "key", "value")]))


def test_undoing_what_was_trained_since_is_an_error_with_the_key(zoo: Any) -> None:
    up = zoo.folder / "up.mpt"
    migrate_archive(zoo.save("0.1.0"), up, code="0.3.0", store=zoo.store)
    policy = load_policy(up, store=zoo.store).unwrap()
    assert policy.module is not None
    policy.module.get_parameter("head.bias").data[3] = 1.0  # the row that the revision added
    save_policy(policy, zoo.folder / "trained.mpt")
    zoo.add("0.2.1", revisions=revisions_source())
    with pytest.raises(MigrationError) as caught:
        migrate_archive(zoo.folder / "trained.mpt", zoo.folder / "down.mpt", code="0.2.1", store=zoo.store)
    assert caught.value.subject == "head.bias"
