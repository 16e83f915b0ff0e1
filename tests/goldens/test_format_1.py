"""The goldens of format 1 open as they always did; specification, second reader and schema agree with them."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpt_format import MptError, open_archive, parse_manifest
from mpt_format.dtypes import BITS
from mpt_format.records import (
    AliasRecord,
    ArchitectureRecord,
    CodeRecord,
    MemberRecord,
    ModuleRecord,
    TensorRecord,
    ViewRecord,
)

from tests.goldens import make_format_1
from tests.mpt_format import independent_reader

FOLDER = Path(__file__).parent / "format_1"
DIGESTS: dict[str, dict[str, str]] = json.loads((FOLDER / "digests.json").read_text())
SCHEMA: dict[str, Any] = json.loads((resources.files("mpt_format") / "schemas/manifest-1.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


@pytest.mark.parametrize("name", DIGESTS)
def test_golden_opens_with_its_digests(name: str) -> None:
    with open_archive(FOLDER / f"{name}.mpt") as archive:
        archive.verify("full")
        assert archive.manifest.format == 1
        assert archive.manifest.content_digest == DIGESTS[name]["content_digest"]


def test_goldens_are_the_files_that_the_script_made(tmp_path: Path) -> None:
    assert make_format_1.make(tmp_path) == DIGESTS
    for name in DIGESTS:
        assert (tmp_path / f"{name}.mpt").read_bytes() == (FOLDER / f"{name}.mpt").read_bytes()


def test_golden_with_everything_holds_what_was_put_in() -> None:
    with open_archive(FOLDER / "everything.mpt") as archive:
        m = archive.manifest
        assert m.code is not None
        assert (m.code.version, m.code.dirty, m.code.diff_member) == ("0.1.0", True, "source.diff")
        assert archive.architecture == {
            "kind": "mlp_actor_critic",
            "schema_version": 2,
            "config": {"width": 3, "rate": 3e-4},
        }
        assert archive.architecture_text.startswith("# kept as written\n")
        assert archive.game_rules is not None
        assert archive.game_rules["actions"] == ["noop", "move"]
        assert archive.extra_state["head._extra_state"]["history"] == [["ä", 0.25], None, True, -7]
        state = archive.read_state_dict()
        witness = archive.read_witness()
        assert archive.read_tensor_member("trainer/adam.safetensors")["step"] == 12
        assert archive.read_json("trainer/adam.json") == {"lr": 0.001}
        assert archive.read_member("source.diff") == b"diff --git a/x b/x\n\x00\xff"
    assert state["head.weight"] is state["body.weight"]
    assert state["body.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert state["body.turned"].stride() == (1, 2)
    assert state["body.column"].tolist() == [1, 4]
    assert state["low"].tolist() == [[9, 8], [7, 6]]
    assert state["high"].view(torch_float32()).tolist() == [7, 6, 5, 4]
    assert "storage/0" not in state
    assert state._metadata == {"": {"version": 1}, "body": {"version": 3}, "head": {}}  # type: ignore[attr-defined]
    assert witness is not None
    assert witness["observation"].tolist() == [[0.5, -0.5]]


def torch_float32() -> Any:
    import torch

    return torch.float32


@pytest.mark.parametrize("name", DIGESTS)
def test_a_reader_written_from_the_specification_agrees(name: str) -> None:
    manifest, members, tensors = independent_reader.read_archive(FOLDER / f"{name}.mpt")
    with open_archive(FOLDER / f"{name}.mpt") as archive:
        assert manifest == archive.manifest.to_document()
        assert list(members) == list(archive.members)
        for member, data in members.items():
            assert archive.read_member(member) == data
        keys = [key for key, record in archive.tensors.items() if record.kind != "storage"]
        assert tensors.keys() == {*keys, *archive.aliases}
        for key in keys:
            assert tensors[key].tobytes() == archive.read_tensor_bytes(key)
        if all(record.dtype != "F6_E2M3" for record in archive.tensors.values()):
            for key, tensor in archive.read_tensors().items():
                np.testing.assert_array_equal(tensors[key], tensor.numpy())


def test_the_independent_reader_is_short_and_imports_nothing_of_ours() -> None:
    text = Path(independent_reader.__file__).read_text()
    body = text[text.index("BITS =") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 60
    assert "import mpt_format" not in text
    assert "from mpt_format" not in text


@pytest.mark.parametrize("name", DIGESTS)
def test_plain_unzip_reads_a_golden(name: str, tmp_path: Path) -> None:
    path = FOLDER / f"{name}.mpt"
    with zipfile.ZipFile(path) as container:
        assert container.testzip() is None
    done = subprocess.run(
        [sys.executable, "-m", "zipfile", "-e", str(path), str(tmp_path)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "manifest.json").is_file()


@pytest.mark.parametrize("name", DIGESTS)
def test_golden_manifest_follows_the_schema(name: str) -> None:
    with open_archive(FOLDER / f"{name}.mpt") as archive:
        VALIDATOR.validate(json.loads(archive.read_member("manifest.json")))


def test_schema_lists_exactly_the_fields_that_the_parser_knows() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    derived = {"name", "module_type", "module_version", "extra"}
    records: dict[type[Any], str] = {
        CodeRecord: "code",
        ArchitectureRecord: "architecture",
        MemberRecord: "member",
        ModuleRecord: "module",
        TensorRecord: "tensor",
        AliasRecord: "alias",
        ViewRecord: "view",
    }
    for record, definition in records.items():
        assert {field.name for field in fields(record)} - derived == set(SCHEMA["$defs"][definition]["properties"])
    with open_archive(FOLDER / "everything.mpt") as archive:
        assert set(SCHEMA["properties"]) == set(archive.manifest.to_document())
    assert SCHEMA["$defs"]["dtype"]["enum"] == list(BITS)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, value in children for place in places(value, (*path, key)))]


with open_archive(FOLDER / "everything.mpt") as _archive:
    DOCUMENT: dict[str, Any] = _archive.manifest.to_document()
PLACES = [place for place in places(DOCUMENT) if place]
ODD_VALUES = st.sampled_from([None, True, 0, -1, 1.5, "", "x", "a\nb", [], [1], [-1], {}, {"x": 1}, 1 << 63, "0" * 64])


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(PLACES), ODD_VALUES, st.booleans())
def test_schema_and_parser_judge_a_damaged_manifest_alike(place: tuple[Any, ...], value: Any, remove: bool) -> None:
    """What the schema refuses the parser refuses; what the parser accepts the schema accepts."""
    document = json.loads(json.dumps(DOCUMENT))
    node = document
    for key in place[:-1]:
        node = node[key]
    if remove:
        del node[place[-1]]
    else:
        node[place[-1]] = value
    try:
        parse_manifest(json.dumps(document).encode())
    except MptError:
        return
    newer = document["revision"] > 0 or document["format"] > 1  # unknown fields are allowed there
    if not newer:
        VALIDATOR.validate(document)
