from __future__ import annotations

import importlib
import subprocess
import sys
import types
from pathlib import Path

import policy_interface
import pydantic
import pytest
from policy_interface import ORIGIN_ATTRIBUTE, Config, Origin, origin_of


class LocalConfig(Config):
    width: int = 1


def test_class_function_module_and_object_have_one_distribution() -> None:
    for subject in (Config, origin_of, policy_interface, policy_interface.TokenLayout(tokens=1, height=1, width=1)):
        assert origin_of(subject).distribution == "policy-interface"
        assert origin_of(subject).digest is None


def test_object_is_named_by_its_class() -> None:
    origin = origin_of(policy_interface.VectorLayout())
    assert (origin.module, origin.qualname) == ("policy_interface.observations", "VectorLayout")
    assert origin_of(policy_interface).qualname == ""


def test_installed_wheel_answers_with_its_metadata() -> None:
    assert origin_of(pydantic.BaseModel).distribution == "pydantic"
    assert origin_of(pydantic.BaseModel).version == pydantic.VERSION


def test_code_that_no_distribution_owns_has_an_empty_one() -> None:
    assert (origin_of(LocalConfig).distribution, origin_of(LocalConfig).version) == ("", "")
    assert origin_of(LocalConfig()).qualname == "LocalConfig"


def test_carried_origin_wins_over_installed_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("isolated_copy_of_zoo.layers")
    carried = Origin(distribution="model-zoo", version="0.1.0", digest="ab" * 32, module="model_zoo.layers")
    setattr(module, ORIGIN_ATTRIBUTE, carried)
    exec("class Layer: pass", vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert origin_of(module) == carried
    origin = origin_of(module.Layer())
    assert (origin.module, origin.qualname, origin.version) == ("model_zoo.layers", "Layer", "0.1.0")
    assert "model-zoo 0.1.0" in str(origin)


def test_editable_install_is_found_by_its_folder(tmp_path: Path) -> None:
    project = tmp_path / "zoo with space"
    (project / "src/editable_zoo").mkdir(parents=True)
    (project / "src/editable_zoo/__init__.py").write_text("class Layer: pass\n")
    site = tmp_path / "site"
    info = site / "editable_zoo-3.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: editable-zoo\nVersion: 3.1\n")
    (info / "RECORD").write_text("editable_zoo-3.1.dist-info/METADATA,,\n")
    url = project.as_uri()
    (info / "direct_url.json").write_text(f'{{"url": "{url}", "dir_info": {{"editable": true}}}}')
    program = (
        f"import sys; sys.path[:0] = [{str(site)!r}, {str(project / 'src')!r}]\n"
        "from editable_zoo import Layer\nfrom policy_interface import origin_of\nprint(origin_of(Layer))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "editable_zoo.Layer [editable-zoo 3.1]"


def test_a_package_that_is_installed_later_is_found_in_the_same_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "late_zoo.py").write_text("class Late: pass\n")
    late = importlib.import_module("late_zoo").Late
    assert origin_of(late).distribution == ""
    info = tmp_path / "late_zoo-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: late-zoo\nVersion: 1.0\n")
    (info / "RECORD").write_text("late_zoo.py,,\n")
    found = origin_of(late)
    del sys.modules["late_zoo"]
    assert str(found) == "late_zoo.Late [late-zoo 1.0]"
