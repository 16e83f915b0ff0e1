"""What a person sees of isolated code: the file, the line and the version, in whatever tool looks."""

from __future__ import annotations

import cProfile
import faulthandler
import inspect
import io
import logging
import pdb
import pickle
import pstats
import subprocess
import sys
import traceback
import typing
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from app_loader.store import Entry, Store
from policy_interface import Config, PolicyArchitecture

AddVersions = Callable[..., dict[str, Entry]]
FILES = {
    "toy_zoo/__init__.py": "",
    "toy_zoo/layers.py": """
import logging
import warnings

from policy_interface import ComponentConfig
from torch import nn

log = logging.getLogger(__name__)


class LayerConfig(ComponentConfig):
    width: int = {n}


class Lin(nn.Module):
    def forward(self, x):
        return x * {n}


class Plain:
    pass


def say():
    log.warning("said")


def warn():
    warnings.warn("careful")


def fail():
    raise ValueError({n})


def during(call):
    return call()
""",
}
FAIL_LINE = next(n for n, line in enumerate(FILES["toy_zoo/layers.py"].splitlines(), 1) if "raise" in line)


@pytest.fixture
def entries(versions: AddVersions) -> dict[str, Entry]:
    return versions(FILES)


@pytest.fixture
def modules(entries: dict[str, Entry]) -> dict[str, typing.Any]:
    return {number: entry.import_module("toy_zoo.layers") for number, entry in entries.items()}


def place(number: str) -> str:
    return f"toy_zoo__{number}_0__"


def test_a_traceback_shows_file_line_source_and_version(modules: dict[str, typing.Any]) -> None:
    for number, module in modules.items():
        with pytest.raises(ValueError, match=number) as caught:
            module.fail()
        last = traceback.extract_tb(caught.value.__traceback__)[-1]
        assert (last.lineno, last.line) == (FAIL_LINE, f"raise ValueError({number})")
        assert place(number) in last.filename


def test_a_warning_shows_file_line_and_version(modules: dict[str, typing.Any]) -> None:
    for number, module in modules.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            module.warn()
        (warning,) = caught
        shown = warnings.formatwarning(warning.message, warning.category, warning.filename, warning.lineno)
        assert place(number) in shown
        assert 'warnings.warn("careful")' in shown


def test_a_log_record_shows_name_path_and_version(
    modules: dict[str, typing.Any], caplog: pytest.LogCaptureFixture
) -> None:
    for module in modules.values():
        module.say()
    for number, record in zip(modules, caplog.records, strict=True):
        shown = logging.Formatter("%(name)s %(pathname)s:%(lineno)d %(module)s %(funcName)s").format(record)
        assert shown.count(place(number)) == 2
        assert shown.endswith(" layers say")


def test_profilers_tell_the_versions_apart(modules: dict[str, typing.Any]) -> None:
    profile = cProfile.Profile()
    profile.enable()
    for module in modules.values():
        module.Lin()(torch.ones(1))
    profile.disable()
    text = io.StringIO()
    pstats.Stats(profile, stream=text).print_stats("layers")
    with torch.profiler.profile(with_stack=True, experimental_config=None) as profiler:
        modules["2"].Lin()(torch.ones(1))
    stacks = " ".join(line for event in profiler.events() for line in event.stack)
    for number in modules:
        assert place(number) in text.getvalue()
    assert place("2") in stacks or not stacks  # builds of torch without Python stacks give none


def test_a_debugger_lists_the_source_and_stops_in_it(modules: dict[str, typing.Any], entries: dict[str, Entry]) -> None:
    said = io.StringIO()
    debugger = pdb.Pdb(
        stdin=io.StringIO("step\nstep\nlist\nwhere\ncontinue\n"), stdout=said, nosigint=True, readrc=False
    )
    debugger.use_rawinput = False
    debugger.runcall(modules["2"].Lin().forward, 1)
    assert "return x * 2" in said.getvalue()
    assert str(entries["2"].path / "toy_zoo" / "layers.py") in said.getvalue()


def test_inspection_finds_source_file_and_module(modules: dict[str, typing.Any], entries: dict[str, Entry]) -> None:
    for number, module in modules.items():
        assert f"return x * {number}" in inspect.getsource(module.Lin.forward)
        assert inspect.getsourcefile(module.Lin) == str(entries[number].path / "toy_zoo" / "layers.py")
        assert inspect.getmodule(module.Lin.forward) is module


def test_a_dump_of_all_threads_shows_file_and_version(modules: dict[str, typing.Any], tmp_path: Path) -> None:
    with (tmp_path / "dump").open("w+") as file:
        modules["3"].during(lambda: faulthandler.dump_traceback(file))
        file.seek(0)
        assert place("3") in file.read()


def test_the_interpreters_import_times_name_the_version(entries: dict[str, Entry], store: Store) -> None:
    code = (
        "from app_loader.isolated import announce_store; from pathlib import Path; "
        f"announce_store(Path({str(store.path)!r})); "
        f"import app_loader.isolated.{entries['1'].identifier}.toy_zoo"
    )
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True)
    assert f"{entries['1'].identifier}.toy_zoo" in done.stderr


def test_the_repr_of_an_isolated_config_class_says_module_and_version(modules: dict[str, typing.Any]) -> None:
    for number, module in modules.items():
        assert repr(module.LayerConfig) == f"<class toy_zoo.layers.LayerConfig [toy-zoo {number}.0]>"
        assert pickle.loads(pickle.dumps(module.LayerConfig)) is module.LayerConfig
        assert repr(module.LayerConfig()) == f"LayerConfig(width={number})"
        assert place(number) in repr(module.Plain)
        assert repr(module.Lin()) == "Lin()"  # torch's own


def test_the_repr_of_a_config_class_that_is_not_isolated_is_pythons() -> None:
    assert repr(PolicyArchitecture) == "<class 'policy_interface.architecture.PolicyArchitecture'>"

    class Local(Config):
        pass

    assert repr(Local).startswith("<class '")


def test_an_application_may_mix_an_isolated_class_with_classes_of_any_metaclass(modules: dict[str, typing.Any]) -> None:
    """Why plain classes keep Python's repr: with a metaclass of ours on them, none of these could be made."""
    from abc import ABC
    from enum import Enum
    from typing import Protocol

    class Said(Protocol):
        answer: int

    base = modules["1"].Plain
    for other in (ABC, Said):
        assert isinstance(type("Mixed", (base, other), {})(), base)
    metaclass: typing.Any = type(Enum)
    mixed = metaclass("Mixed", (base, Enum), metaclass.__prepare__("Mixed", (base, Enum)))
    assert issubclass(mixed, base)
