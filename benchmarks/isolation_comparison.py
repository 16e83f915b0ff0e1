"""The same questions to five ways of having three versions of a package in one process.

    uv run --no-sync python -m benchmarks.isolation_comparison --write

The package is an unmodified wheel with absolute imports of itself, as most wheels have them. Every method gets the same
three folders and a process of its own; a row passes when versions 1, 2 and 3 answer 1, 2 and 3.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import importlib.util
import inspect
import io
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import typing
import warnings
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

Load = Callable[[str], ModuleType]
ROOT = Path(__file__).parent.parent
NUMBERS = (1, 2, 3)
METHODS = ("app_loader", "torch.package", "patched __import__", "sys.path swap", "renamed root")

FILES = {
    "__init__.py": "",
    "consts.py": "scale = {n}\nclass Kind:\n    number = {n}\n",
    "data.txt": "{n}",
    "net.py": """
import importlib
import torch

class Net(torch.nn.Module):
    def forward(self, x):
        from toy_zoo.consts import scale
        return x * scale

class ByName(torch.nn.Module):
    def forward(self, x):
        return x * importlib.import_module("toy_zoo.consts").scale
""",
    "script.py": """
import torch
from toy_zoo.consts import scale

def scaled(x: torch.Tensor) -> torch.Tensor:
    return x * {n}

class Net(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return scaled(x)
""",
    "kinds.py": """
from __future__ import annotations
import dataclasses, typing
import pydantic
from toy_zoo.consts import Kind

@dataclasses.dataclass
class Config:
    number: typing.ClassVar[int] = {n}
    kind: Kind = None

class Model(pydantic.BaseModel):
    next: Later | None = None

class Later(pydantic.BaseModel):
    number: int = {n}
""",
    "asks.py": """
import importlib, sys

def version():
    from importlib.metadata import version
    return version("toy-zoo")

def data():
    from importlib.resources import files
    return files("toy_zoo").joinpath("data.txt").read_text()

def by_table():
    import toy_zoo.consts
    return sys.modules["toy_zoo.consts"].scale

def by_string(name="toy_zoo.consts"):
    return importlib.import_module(name).scale

def read(data):
    import pickle
    return pickle.loads(data).number
""",
    "op.py": """
import torch

@torch.library.custom_op("toy_zoo::scaled", mutates_args=())
def scaled(x: torch.Tensor) -> torch.Tensor:
    return x * {n}

def answer(x):
    return torch.ops.toy_zoo.scaled(x)
""",
    "late.py": "from toy_zoo.consts import scale\n",
    "cycle_a.py": "import toy_zoo.cycle_b\nclass A:\n    number = {n}\n",
    "cycle_b.py": "import toy_zoo.cycle_a\n",
    "dataset.py": """
from toy_zoo.consts import Kind

class Data:
    def __len__(self):
        return 1
    def __getitem__(self, index):
        return Kind()

def same(batch):
    return batch

def number_of(kind):
    return kind.number
""",
}


def make_folders(scratch: Path) -> dict[int, Path]:
    """Write the three versions, each with its metadata."""
    folders = {}
    for number in NUMBERS:
        folder = folders[number] = scratch / f"v{number}"
        (folder / "toy_zoo").mkdir(parents=True)
        for name, text in FILES.items():
            (folder / "toy_zoo" / name).write_text(text.replace("{n}", str(number)))
        info = folder / f"toy_zoo-{number}.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: toy-zoo\nVersion: {number}.0\n")
    return folders


def with_app_loader(folders: dict[int, Path], scratch: Path) -> dict[int, Load]:
    """Wheels in a store."""
    import base64
    import hashlib
    import zipfile

    from app_loader.store import Store

    loads = {}
    for number, folder in folders.items():
        path = scratch / f"toy_zoo-{number}.0-py3-none-any.whl"
        rows = []
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(each for each in folder.rglob("*") if each.is_file()):
                name, data = file.relative_to(folder).as_posix(), file.read_bytes()
                archive.writestr(name, data)
                digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                rows.append(f"{name},sha256={digest},{len(data)}")
            archive.writestr(f"toy_zoo-{number}.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
            wheel = base64.urlsafe_b64encode(hashlib.sha256(b"Wheel-Version: 1.0\n").digest()).rstrip(b"=").decode()
            rows.append(f"toy_zoo-{number}.0.dist-info/WHEEL,sha256={wheel},19")
            archive.writestr(f"toy_zoo-{number}.0.dist-info/RECORD", "\n".join(rows))
        loads[number] = Store(scratch / "store").add([path]).import_module
    return typing.cast(dict[int, Load], loads)


def with_torch_package(folders: dict[int, Path], scratch: Path) -> dict[int, Load]:
    """torch.package: everything of the package interned, all else left to the environment."""
    from torch.package import PackageExporter, PackageImporter

    class Exporter(PackageExporter):
        def add_dependency(self, module_name: str, dependencies: bool = True) -> None:
            if module_name.partition(".")[0] != "toy_zoo":
                super().add_dependency(module_name, False)

    loads = {}
    for number, folder in folders.items():
        archive = scratch / f"{number}.pt"
        with Exporter(str(archive)) as exporter:
            exporter.extern("**", allow_empty=True)
            for file in sorted((folder / "toy_zoo").iterdir()):
                if file.suffix == ".py":
                    name = "toy_zoo" if file.stem == "__init__" else f"toy_zoo.{file.stem}"
                    exporter.save_source_string(name, file.read_text(), is_package=file.stem == "__init__")
                else:
                    exporter.save_binary("toy_zoo", file.name, file.read_bytes())
        loads[number] = PackageImporter(str(archive)).import_module
    return loads


def with_patched_import(folders: dict[int, Path], scratch: Path) -> dict[int, Load]:
    """Builtins of its own per module, whose `__import__` redirects own names to a registered prefix."""
    import builtins

    class Loader(SourceFileLoader):
        def exec_module(self, module: ModuleType) -> None:
            prefix = module.__name__.partition(".")[0]

            def __import__(name: str, g: Any = None, l: Any = None, fromlist: Any = (), level: int = 0) -> Any:  # noqa: E741
                if level == 0 and name.partition(".")[0] == "toy_zoo":
                    found = importlib.import_module(f"{prefix}.{name}")
                    return found if fromlist else importlib.import_module(f"{prefix}.toy_zoo")
                return builtins.__import__(name, g, l, fromlist, level)

            vars(module)["__builtins__"] = {**vars(builtins), "__import__": __import__}
            super().exec_module(module)

    class Finder:
        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
            prefix, _, rest = name.partition(".")
            if not prefix.startswith("patched_v"):
                return None
            folder = folders[int(prefix[9:])]
            if not rest:
                spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
                spec.submodule_search_locations = [str(folder)]
                return spec
            file = folder.joinpath(*rest.split("."))
            package = file.is_dir()
            source = str(file / "__init__.py" if package else file.with_suffix(".py"))
            return importlib.util.spec_from_file_location(
                name, source, loader=Loader(name, source), submodule_search_locations=[str(file)] if package else None
            )

    sys.meta_path.insert(0, Finder)  # type: ignore[arg-type]
    return {n: (lambda name, n=n: importlib.import_module(f"patched_v{n}.{name}")) for n in NUMBERS}


def with_path_swap(folders: dict[int, Path], scratch: Path) -> dict[int, Load]:
    """The version's folder first on sys.path, and its modules swapped into sys.modules, at every load."""
    saved: dict[int, dict[str, ModuleType]] = {number: {} for number in NUMBERS}
    active: list[int] = []

    def load(number: int, name: str) -> ModuleType:
        if active != [number]:
            current = {key: value for key, value in sys.modules.items() if key.partition(".")[0] == "toy_zoo"}
            if active:
                saved[active[0]] = current
            for key in current:
                del sys.modules[key]
            sys.path[:] = [str(folders[number]), *(p for p in sys.path if p not in map(str, folders.values()))]
            importlib.invalidate_caches()
            sys.modules.update(saved[number])
            active[:] = [number]
        return importlib.import_module(name)

    return {number: (lambda name, number=number: load(number, name)) for number in NUMBERS}


def with_renamed_root(folders: dict[int, Path], scratch: Path) -> dict[int, Load]:
    """The package under another root name, as kernels does it: relative imports follow, absolute ones do not."""

    def load(number: int, name: str) -> ModuleType:
        root = f"toy_zoo_{number}"
        if root not in sys.modules:
            folder = folders[number] / "toy_zoo"
            spec = importlib.util.spec_from_file_location(
                root, folder / "__init__.py", submodule_search_locations=[str(folder)]
            )
            assert spec is not None and spec.loader is not None
            module = sys.modules[root] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        return importlib.import_module(name.replace("toy_zoo", root, 1))

    return {number: (lambda name, number=number: load(number, name)) for number in NUMBERS}


ADAPTERS = dict(
    zip(
        METHODS,
        [with_app_loader, with_torch_package, with_patched_import, with_path_swap, with_renamed_root],
        strict=True,
    )
)


def rows(load: dict[int, Load]) -> dict[str, Callable[[], list[Any]]]:
    """Return each question with what asks it; the answer must be [1, 2, 3]."""
    import torch

    x = torch.ones(1)

    def nets(kind: str = "Net") -> dict[int, Any]:
        return {n: getattr(load[n]("toy_zoo.net"), kind)() for n in NUMBERS}

    def each(ask: Callable[[int], Any]) -> list[Any]:
        return [int(float(ask(n))) for n in NUMBERS]

    def asked(name: str) -> Callable[[], list[Any]]:
        modules = {n: load[n]("toy_zoo.asks") for n in NUMBERS} if name else {}
        return lambda: each(lambda n: getattr(modules[n], name)())

    def compiled() -> list[Any]:
        torch._dynamo.reset()
        made = {n: torch.compile(net, backend="eager") for n, net in nets().items()}
        return each(lambda n: made[n](x))

    def exported(strict: bool, kind: str = "Net") -> list[Any]:
        torch._dynamo.reset()
        made = {n: torch.export.export(net, (x,), strict=strict).module() for n, net in nets(kind).items()}
        return each(lambda n: made[n](x))

    def scripted() -> list[Any]:
        made = {n: torch.jit.script(load[n]("toy_zoo.script").Net()) for n in NUMBERS}
        return each(lambda n: made[n](x))

    def pickled(how: Callable[[Any], Any]) -> list[Any]:
        made = [(load[n]("toy_zoo.consts").Kind, how(load[n]("toy_zoo.consts").Kind())) for n in NUMBERS]
        return [back.number if type(back) is kind else -1 for kind, back in made]

    def weights() -> list[Any]:
        answers = []
        for n in NUMBERS:
            buffer = io.BytesIO()
            torch.save({"w": load[n]("toy_zoo.net").Net()(x)}, buffer)
            buffer.seek(0)
            answers.append(int(torch.load(buffer, weights_only=True)["w"]))
        return answers

    def threads() -> list[Any]:
        found: dict[int, set[type]] = {n: set() for n in NUMBERS}

        def run(n: int) -> None:
            found[n].add(load[n]("toy_zoo.cycle_a").A)

        jobs = [threading.Thread(target=run, args=(n,)) for n in (*NUMBERS, *NUMBERS, 1, 2)]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        return [next(iter(kinds)).number if len(kinds) == 1 else -1 for kinds in found.values()]  # type: ignore[attr-defined]

    def children(method: str) -> list[Any]:
        modules = {n: load[n]("toy_zoo.dataset") for n in NUMBERS}
        kinds = {n: load[n]("toy_zoo.consts").Kind() for n in NUMBERS}
        with multiprocessing.get_context(method).Pool(1) as pool:
            return [pool.apply_async(modules[n].number_of, (kinds[n],)).get(timeout=60) for n in NUMBERS]

    def workers() -> list[Any]:
        answers = []
        for n in NUMBERS:
            module = load[n]("toy_zoo.dataset")
            loader = torch.utils.data.DataLoader(
                module.Data(), num_workers=1, collate_fn=module.same, multiprocessing_context="spawn", timeout=60
            )
            answers += [kind.number for batch in loader for kind in batch]
        return answers

    return {
        "import inside `forward`, run plainly": lambda: each(lambda n: nets()[n](x)),
        "`torch.compile`": compiled,
        "`torch.export`, strict": lambda: exported(True),
        "`torch.export`, not strict": lambda: exported(False),
        "`import_module` inside `forward`": lambda: each(lambda n: nets("ByName")[n](x)),
        "`import_module` inside `forward`, exported strictly": lambda: exported(True, "ByName"),
        "`torch.jit.script`": scripted,
        "late import after another version's turn": lambda: each(lambda n: load[n]("toy_zoo.late").scale),
        "`importlib.metadata.version`": lambda: asked("version")(),
        "`importlib.resources.files`": lambda: asked("data")(),
        "`sys.modules` by literal name": lambda: asked("by_table")(),
        "`import_module` of a string": lambda: asked("by_string")(),
        "bytes that name the package": lambda: each(
            lambda n: load[n]("toy_zoo.asks").read(b"ctoy_zoo.consts\nKind\n.")
        ),
        "pickle": lambda: pickled(lambda value: pickle.loads(pickle.dumps(value))),  # noqa: S301
        "deepcopy": lambda: pickled(copy.deepcopy),
        "`torch.save`, weights only": weights,
        "dataclass with string annotations": lambda: each(
            lambda n: load[n]("toy_zoo.kinds").Config.number + 0 * len(vars(load[n]("toy_zoo.kinds").Config()))
        ),
        "pydantic forward references": lambda: each(
            lambda n: load[n]("toy_zoo.kinds").Model.model_validate({"next": {}}).next.number
        ),
        "`get_type_hints`": lambda: each(
            lambda n: typing.get_type_hints(load[n]("toy_zoo.kinds").Config)["kind"].number
        ),
        "`inspect.getsource`": lambda: each(
            lambda n: inspect.getsource(load[n]("toy_zoo.script").scaled).rpartition("*")[2].strip()
        ),
        "one custom operator name": lambda: (
            [load[n]("toy_zoo.op") for n in NUMBERS] and each(lambda n: load[n]("toy_zoo.op").answer(x))
        ),
        "eight threads, a cyclic package": threads,
        "spawn": lambda: children("spawn"),
        "forkserver": lambda: children("forkserver"),
        "DataLoader workers": workers,
    }


def ask(method: str, out: Path) -> None:
    """Ask one method every question, and write each answer as soon as it is known."""
    warnings.simplefilter("ignore")
    answers: dict[str, str] = json.loads(out.read_text()) if out.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        load = ADAPTERS[method](make_folders(Path(scratch)), Path(scratch))
        for name, question in rows(load).items():
            if name in answers:
                continue
            out.write_text(json.dumps({**answers, name: "the process died"}))
            try:
                found = question()
                answers[name] = "" if found == list(NUMBERS) else f"answers {found}"
            except BaseException as error:
                answers[name] = f"{type(error).__name__}"
            out.write_text(json.dumps(answers))


def collect(method: str, scratch: Path) -> dict[str, str]:
    """Run one method in processes of its own, again after a crash, until every question is answered."""
    out = scratch / f"{method.replace(' ', '_')}.json"
    for _ in range(6):
        command = [sys.executable, "-m", "benchmarks.isolation_comparison", "--ask", method, str(out)]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode == 0:
                break
            print(done.stderr[-2000:], file=sys.stderr)
        except subprocess.TimeoutExpired:
            pass
    answers: dict[str, str] = json.loads(out.read_text())
    return answers


def main() -> None:
    """Print the matrix, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ask", nargs=2, metavar=("METHOD", "FILE"), help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="write docs/isolation-comparison.md")
    given = parser.parse_args()
    if given.ask:
        ask(given.ask[0], Path(given.ask[1]))
        return
    import torch

    with tempfile.TemporaryDirectory() as scratch:
        found = {method: collect(method, Path(scratch)) for method in METHODS}
    lines = ["| question | " + " | ".join(METHODS) + " |", "|---|" + "---|" * len(METHODS)]
    for name in found[METHODS[0]]:
        cells = ["pass" if not (text := found[m].get(name, "not asked")) else f"fail: {text}" for m in METHODS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    passed = [f"**{sum(not text for text in found[m].values())} of {len(found[METHODS[0]])}**" for m in METHODS]
    lines.append("| passed | " + " | ".join(passed) + " |")
    table = "\n".join(lines)
    print(table)
    if given.write:
        python = ".".join(map(str, sys.version_info[:3]))
        page = PAGE.format(table=table, python=python, torch=torch.__version__)
        (ROOT / "docs" / "isolation-comparison.md").write_text(page)


PAGE = """# Isolation, compared

Three versions of one unmodified package in one process, asked the same questions. A cell passes when versions 1, 2 and
3 answer 1, 2 and 3. The table was written by this command, with Python {python} and torch {torch}:

```console
$ uv run --no-sync python -m benchmarks.isolation_comparison --write
```

{table}

- *torch.package*: everything of the package interned; modules have mangled names that are not registered.
- *patched `__import__`*: builtins of its own for each module, registered names, source left alone. The compilers of
  torch follow an import themselves and do not ask a patched `__import__`: here, where no version is installed,
  `torch.compile` falls back to running plainly and strict export refuses.
- *sys.path swap*: the version's folder first on the path, its modules swapped in at every load.
- *renamed root*: the package under another root name, as kernels does it. Relative imports follow; the package asked
  here imports itself absolutely, as most wheels do.

`answers [3, 3, 3]` is the worst kind of failure: no error, and another version's number.
"""


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    main()
