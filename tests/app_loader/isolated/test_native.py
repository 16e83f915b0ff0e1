"""Compiled files of a unit are never loaded: needed ones refuse it before anything runs, optional ones look absent."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import Any

import app_loader.isolated
import pytest
from app_loader.errors import NativeCodeError
from app_loader.isolated import isolate_directory
from app_loader.store import Store

MakeWheel = Callable[..., Path]

FAST = f"toy_zoo/fast{EXTENSION_SUFFIXES[0]}"
NEEDED = {
    "at the top": {"toy_zoo/__init__.py": "from toy_zoo import fast"},
    "relatively": {"toy_zoo/__init__.py": "from .fast import f"},
    "by the package that gives its name to something else": {
        "toy_zoo/__init__.py": "from . import fast\nfast = fast.f"
    },
    "by another module": {
        "toy_zoo/__init__.py": "import toy_zoo.layers",
        "toy_zoo/layers.py": "with open(__file__):\n    from . import fast",
    },
    "in a try that catches something else": {
        "toy_zoo/__init__.py": "try:\n    import toy_zoo.fast\nexcept (KeyError, ValueError):\n    pass"
    },
    "by loading it itself": {"toy_zoo/__init__.py": "", "toy_zoo/use.py": "import ctypes\nctypes.CDLL('fast.so')"},
    "by loading it itself under another name": {
        "toy_zoo/__init__.py": "from ctypes import CDLL as load\nload('fast.so')"
    },
    "with the loader of compiled modules": {
        "toy_zoo/__init__.py": "from importlib.machinery import ExtensionFileLoader as Loader"
    },
    "as the package itself": {
        "toy_zoo/__init__.py": "import toy_core",
        f"toy_core/__init__{EXTENSION_SUFFIXES[0]}": "",
    },
}
OPTIONAL = {
    "caught": {"toy_zoo/__init__.py": "try:\n    from toy_zoo import fast\nexcept ImportError:\n    fast = None"},
    "caught where it is used": {
        "toy_zoo/__init__.py": "try:\n    from toy_zoo.use import fast\nexcept Exception:\n    fast = None",
        "toy_zoo/use.py": "from toy_zoo import fast",
    },
    "under a condition": {
        "toy_zoo/__init__.py": "def has():\n    from toy_zoo import fast\ntry:\n    has()\n    found = True\n"
        "except ImportError:\n    found = False\nif found:\n    from toy_zoo import fast\nelse:\n    fast = None",
    },
    "a name of the package": {
        "toy_zoo/__init__.py": "try:\n    from . import fast\nexcept ImportError:\n    fast = None\nimport toy_zoo.use",
        "toy_zoo/use.py": "from toy_zoo import fast\nassert fast is None",
    },
    "suppressed": {
        "toy_zoo/__init__.py": "import contextlib\nfast = None\n"
        "with contextlib.suppress(ImportError):\n    from toy_zoo import fast"
    },
    "a function of the package": {
        "toy_zoo/__init__.py": "try:\n    from .fast import f\nexcept ImportError:\n    def fast(): ...\n"
        "from toy_zoo.use import fast",
        "toy_zoo/use.py": "from toy_zoo import fast\nfast = fast()",
    },
    "compiled from the source beside it": {
        "toy_zoo/__init__.py": "from toy_zoo.fast import fast",
        "toy_zoo/fast.py": "fast = None",
    },
}


@pytest.fixture(params=["store", "folder"])
def add(
    request: pytest.FixtureRequest, make_wheel: MakeWheel, store: Store, tmp_path: Path
) -> Callable[[dict[str, str | bytes]], Callable[[str], ModuleType]]:
    """Return what makes a unit of files, in a store or in a folder, and gives its importer."""

    def make(files: dict[str, str | bytes]) -> Callable[[str], ModuleType]:
        if request.param == "store":
            return store.add([make_wheel("toy-zoo", "1.0", files)]).import_module
        for name, content in files.items():
            path = tmp_path / "folder" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return isolate_directory(tmp_path / "folder", bytecode=tmp_path / "bytecode").import_module

    return make


@pytest.mark.parametrize("need", NEEDED)
def test_needed_native_code_is_refused_before_anything_runs(add: Any, tmp_path: Path, need: str) -> None:
    marker = tmp_path / "ran"
    files = {name: f"open({str(marker)!r}, 'w').close()\n{text}" for name, text in NEEDED[need].items()}
    load = add({**files, FAST: b"\x7fELF"})
    with pytest.raises(NativeCodeError) as caught:
        load("toy_zoo")
    assert set(caught.value.files) <= {FAST, *files}
    assert caught.value.files
    assert not marker.exists()


def test_a_library_with_a_number_behind_its_ending_is_native_code(add: Any) -> None:
    source = "import ctypes\nctypes.cdll['libfast.so.1']"
    with pytest.raises(NativeCodeError) as caught:
        add({"toy_zoo/__init__.py": source, "toy_zoo/libfast.so.1": b"\x7fELF"})("toy_zoo")
    assert caught.value.files == ("toy_zoo/libfast.so.1",)


@pytest.mark.parametrize("use", OPTIONAL)
def test_optional_native_code_looks_absent_in_a_store_as_in_a_folder(add: Any, use: str) -> None:
    module = add({**OPTIONAL[use], FAST: b"\x7fELF"})("toy_zoo")
    assert module.fast is None
    assert not [name for name, each in sys.modules.items() if str(getattr(each, "__file__", "")).endswith(FAST)]


def test_a_compiled_file_that_is_loaded_by_its_place_is_not_loaded(add: Any) -> None:
    source = f"""
import importlib.util
from pathlib import Path
try:
    importlib.util.spec_from_file_location("fast", Path(__file__).with_name({FAST.rpartition("/")[2]!r}))
except ImportError as error:
    reason = error
"""
    module = add({"toy_zoo/__init__.py": source, FAST: b"\x7fELF"})("toy_zoo")
    assert isinstance(module.reason, NativeCodeError)


def test_a_library_of_another_system_stands_in_nobodys_way(add: Any) -> None:
    other = "fast.dll" if sys.platform != "win32" else "fast.so"
    files = {"toy_zoo/__init__.py": "import ctypes\nif False: ctypes.CDLL('fast.dll')", f"toy_zoo/{other}": b"MZ"}
    assert add(files)("toy_zoo").ctypes


def test_an_optional_compiled_module_looks_absent_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "toy_zoo").mkdir()
    source = """
try:
    from toy_zoo import fast
except ImportError as error:
    fast, reason = None, error
def need():
    import toy_zoo.fast
"""
    (tmp_path / "toy_zoo" / "__init__.py").write_text(source)
    (tmp_path / "toy_zoo" / f"fast{EXTENSION_SUFFIXES[0]}").write_bytes(b"\x7fELF")
    unit = isolate_directory(tmp_path, bytecode=tmp_path / "bytecode")
    module = unit.import_module("toy_zoo")
    assert module.fast is None
    assert isinstance(module.reason, NativeCodeError)
    with pytest.raises(NativeCodeError, match="native code"):
        module.need()
    assert pickle.loads(pickle.dumps(module.reason)).files == module.reason.files
    app_loader.isolated.unload(unit)


@pytest.mark.parametrize("package", ["toy_zoo", "toy_space/zoo"])
def test_what_code_built_beside_its_modules_when_it_first_ran_is_no_part_of_a_folder(
    tmp_path: Path, package: str
) -> None:
    """A library that `torch.utils.cpp_extension.load` built: no RECORD lists it, and its code asks torch for it."""
    folder = tmp_path / "folder"
    source = folder / package / "__init__.py"
    source.parent.mkdir(parents=True)
    source.write_text("from torch.utils import cpp_extension\nanswer = 1\n")
    info = folder / "toy_zoo-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-zoo\nVersion: 1.0\n")
    (info / "RECORD").write_text(f"{package}/__init__.py,,\n{info.name}/METADATA,,\n{info.name}/RECORD,,\n")
    before = isolate_directory(folder, bytecode=tmp_path / "bytecode")
    built = folder / package / "build" / "fast.so"
    built.parent.mkdir()
    built.write_bytes(b"\x7fELF")
    after = isolate_directory(folder, bytecode=tmp_path / "bytecode")
    assert after is before  # so that a child process finds it under the name that it had
    assert after.import_module(package.replace("/", ".")).answer == 1
    (info / "RECORD").write_text(f"{package}/__init__.py,,\n{package}/build/fast.so,,\n")
    with pytest.raises(NativeCodeError):
        isolate_directory(folder, bytecode=tmp_path / "bytecode").import_module(package.replace("/", "."))
