"""Several versions of any package in one process, each compared with itself alone in a clean interpreter.

usage: python -m end_to_end.packages.alongside SET SET ... [--mode sealed|app] [--modules N]
       python -m end_to_end.packages.alongside --row NAME [--mode sealed|app]

A set is one version with what it needs at a version of its own, as in ``lightning==2.4.0,torchmetrics==1.4.3``; a row
of the table in docs/benchmarks/real-packages.md has its sets in ``rows.toml``. The rest comes from this environment,
and what it lacks is installed once for all. Nothing is known of any package: its modules are imported, and of each its
names are compared; of its functions and classes the source, the signature and the resolved annotations, and whether a
pickle that another turn reads gives the very same; every exception, dataclass and `torch.nn.Module` that takes no
arguments is made with a seed, shown, copied, pickled in one turn and read in the next. ``app`` imports the last version
plainly first.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import hashlib
import importlib
import inspect
import json
import os
import pickle
import pkgutil
import re
import subprocess
import sys
import tempfile
import tomllib
import typing
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from end_to_end.packages.lacking import install_lacking

Load = Callable[[str], Any]
Answers = dict[str, Any]
_ROWS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("rows.toml").read_text())
_MADE = 40
"""More modules of torch than this are not made of one package."""
_TURNS = 4
_ASKED = 400
"""More functions and classes than this are not asked of one package."""


def asked(load: Load, root: str, most: int) -> Iterator[Answers]:
    """Yield after each turn what a version has answered so far.

    Args:
        load: imports by name, as `importlib.import_module`.
        root: the package.
        most: how many of its modules to import.
    """
    import torch

    answers: Answers = {}
    package = load(root)
    defined: dict[str, Any] = {}
    found = [root, *_submodules(root, getattr(package, "__path__", []))][:most]
    kinds: dict[str, Any] = {}
    for name in found:
        try:
            module = load(name)
        except Exception as error:
            answers[name] = type(error).__name__
            continue
        answers[name] = [key for key in sorted(vars(module)) if not inspect.ismodule(vars(module)[key])]
        for key, kind in sorted(vars(module).items()):
            if not inspect.isclass(kind) and not inspect.isfunction(kind):
                continue
            if _original(kind) == f"{name}.{key}":
                defined[_original(kind)] = kind
            if inspect.isclass(kind) and issubclass(kind, torch.nn.Module) and _original(kind).startswith(f"{root}."):
                kinds[f"{name}.{key}"] = kind
    yield answers
    some = dict(list(defined.items())[:: max(1, len(defined) // _ASKED)])
    answers |= {f"{key}, looked at": _looked_at(value) for key, value in some.items()}
    kept = {key: _tried(lambda value=value: pickle.dumps(value).hex()) for key, value in some.items()}
    values = {key: value() for key, value in some.items() if _is_value(value)}
    answers |= {f"{key}, made": _tried(lambda value=value: _shown(value)) for key, value in values.items()}
    kept_values = {key: _tried(lambda value=value: pickle.dumps(value).hex()) for key, value in values.items()}
    yield answers
    answers |= {f"{key}, by name": _tried(lambda key=key: _unhex(kept[key]) is some[key]) for key in some}
    answers |= {f"{key}, value": _tried(lambda key=key: _again(kept_values[key], some[key])) for key in values}
    pickled: dict[str, bytes] = {}
    for key, kind in list(kinds.items())[:_MADE]:
        torch.manual_seed(0)
        try:
            made = kind()
        except Exception as error:
            answers[key] = type(error).__name__
            continue
        answers[key] = [
            _tried(lambda made=made: _numbers(made)),
            _tried(lambda made=made: _numbers(copy.deepcopy(made))),
            _tried(lambda made=made: re.sub(r"0x\w+", "", repr(made))),
        ]
        try:
            pickled[key] = pickle.dumps(made)
        except Exception as error:
            answers[f"{key}, pickled"] = type(error).__name__
    yield answers
    for key, data in pickled.items():
        answers[f"{key}, pickled"] = _tried(lambda key=key, data=data: _read(data, kinds[key]))
    yield answers


def _looked_at(value: Any) -> list[Any]:
    """Return what `inspect` and `typing` say of a function or class, in original names."""
    hints = _tried(lambda: sorted(f"{name}: {_told(hint)}" for name, hint in typing.get_type_hints(value).items()))
    source = _tried(lambda: hashlib.sha256(inspect.getsource(value).encode()).hexdigest())
    return [hints, source, _tried(lambda: _told(_signature(value)))]


def _signature(value: Any) -> inspect.Signature:
    """Return a signature without the content of dictionaries that are defaults: caches, and whole modules."""
    signature = inspect.signature(value)
    kept = [
        each.replace(default=type(each.default)) if isinstance(each.default, dict) and each.default else each
        for each in signature.parameters.values()
    ]
    return signature.replace(parameters=kept)


def _is_value(kind: Any) -> bool:
    """Whether it is a class of exceptions or a dataclass that can be made of nothing."""
    if not inspect.isclass(kind) or not (issubclass(kind, Exception) or dataclasses.is_dataclass(kind)):
        return False
    return isinstance(_tried(kind), kind)


def _shown(value: Any) -> list[Any]:
    if isinstance(value, Exception):
        try:
            raise value
        except type(value) as error:
            return [type(error).__name__, [base.__name__ for base in type(error).__mro__], _told(error)]
    return [_told(value), _told(copy.deepcopy(value)), value == copy.copy(value)]


def _again(data: str, kind: type) -> list[Any]:
    again = _unhex(data)
    return [type(again) is kind, _told(again)]


def _unhex(data: str) -> Any:
    return pickle.loads(bytes.fromhex(data))


def _told(value: Any) -> str:
    """Return what a value shows, without addresses, and with original names for isolated ones."""
    return re.sub(r"app_loader\.isolated\.\w+?__\w+?__[0-9a-f]{8}\.", "", re.sub(r"0x\w+", "", str(value)))


def _tried(question: Callable[[], Any]) -> Any:
    """Return the answer, or the name of the error: what a package alone cannot do, it shall not do beside others."""
    try:
        return question()
    except Exception as error:
        return type(error).__name__


def _read(data: bytes, kind: type) -> list[Any]:
    again = pickle.loads(data)
    return [_numbers(again), type(again) is kind]


def _submodules(root: str, path: Any) -> list[str]:
    """Return the names of a package's modules, nearest first; nothing but packages is looked into."""
    found, pending = [], [(root, list(path))]
    while pending:
        name, places = pending.pop(0)
        for info in pkgutil.iter_modules(places):
            full = f"{name}.{info.name}"
            if info.name.startswith(("_", "test", "conftest", "cli", "example")):
                continue
            found.append(full)
            if info.ispkg:
                pending.append((full, [str(Path(place, info.name)) for place in places]))
    return found


def _original(kind: type) -> str:
    from app_loader.isolated import original_name

    return f"{original_name(kind.__module__)}.{kind.__qualname__}"


def _numbers(module: Any) -> list[float]:
    tensors = [value for value in module.state_dict().values() if hasattr(value, "double")]
    return [round(float(value.double().sum()), 6) for value in tensors if value.numel()]


def _whole(turns: Iterator[Answers]) -> Answers:
    *_, last = turns
    return last


def alone(root: str, most: int) -> Answers:
    """Return what the version on the path answers."""
    return _whole(asked(importlib.import_module, root, most))


def together(root: str, most: int, mode: str, folders: list[str]) -> dict[str, Answers]:
    """Return what every version answers in one process: first in full, then turn by turn with the others."""
    from app_loader.isolated.adapters import from_directories

    importers: dict[str, Load] = {}
    answers: dict[str, Answers] = {}
    if mode == "app":
        importers["app"] = importlib.import_module
        answers["app first"] = alone(root, most)
    importers |= from_directories({folder: Path(folder) for folder in folders})
    running = {name: asked(load, root, most) for name, load in importers.items()}
    for name, load in importers.items():
        answers[f"{name} first"] = _whole(asked(load, root, most))
    for _ in range(_TURNS):
        for name, turns in running.items():
            answers[name] = next(turns)
    return answers


def _child(job: dict[str, Any], path: list[str]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "answers.json")
        environment = {
            **os.environ,
            "PYTHONHASHSEED": "0",
            "PYTHONPATH": os.pathsep.join([*path, str(Path(__file__).parents[2])]),
        }
        command = [sys.executable, "-m", "end_to_end.packages.alongside", "--job", json.dumps({**job, "out": str(out)})]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if not out.exists():
            raise SystemExit(done.stderr[-2000:])
        return json.loads(out.read_text())


def _run(job: dict[str, Any]) -> None:
    warnings.simplefilter("ignore")
    out = Path(job.pop("out"))
    out.write_text(json.dumps(together(**job) if "mode" in job else alone(**job)))


def main() -> int:
    """Compare; 1 where a version answers differently beside the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*")
    parser.add_argument(
        "--row", choices=_ROWS, metavar="NAME", help="one of the table in docs/benchmarks/real-packages.md"
    )
    parser.add_argument("--mode", choices=["sealed", "app"], default="sealed")
    parser.add_argument("--modules", type=int, default=60)
    parser.add_argument("--root", help="the package to import, where it is not named as the distribution is")
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job:
        _run(given.job)
        return 0
    row = _ROWS.get(given.row, {})
    sets = given.sets or row.get("sets")
    if not sets:
        parser.error("give one set or more, or --row NAME")
    root = given.root or row.get("root") or sets[0].partition("==")[0].replace("-", "_")
    with tempfile.TemporaryDirectory() as scratch:
        folders = {}
        for index, requirements in enumerate(sets):
            folder = Path(scratch, str(index))
            install = ["uv", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
            subprocess.run([*install, *requirements.split(",")], check=True)
            folders[str(folder)] = requirements.partition(",")[0]
        shared = Path(scratch, "shared")
        if lacking := install_lacking(sets, shared):
            print("shared by all:", *lacking)
        job = {"root": root, "most": given.modules}
        expected = {folder: _child(job, [folder, str(shared)]) for folder in folders}
        newest = list(folders)[-1]
        path = [newest, str(shared)] if given.mode == "app" else [str(shared)]
        got = _child({**job, "mode": given.mode, "folders": list(folders)}, path)
        wrong = 0
        for name, answers in got.items():
            label = name.removesuffix(" first")
            want = expected[newest if label == "app" else label]
            differing = sorted(key for key in want.keys() | answers.keys() if want.get(key) != answers.get(key))
            wrong += bool(differing)
            shown = name.replace(label, folders.get(label, label))
            print(f"{shown}: {len(want)} answers", "as alone" if not differing else f"DIFFER: {differing[:5]}")
            for key in differing[:2]:
                print("   ", key, str(answers.get(key))[:300], "instead of", str(want.get(key))[:300])
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
