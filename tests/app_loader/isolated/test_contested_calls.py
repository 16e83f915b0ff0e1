"""What versions registered differently answers each of them: compiled, exported, in threads and in child processes.

Where a compiler cannot tell who asks, it refuses; none of them takes another version's function.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier
from types import ModuleType
from typing import Any

import pytest
import torch
from app_loader.errors import RegistrationConflictError
from app_loader.store import Entry, Store

AddVersions = Callable[..., dict[str, Entry]]

SHARED = """
def scaled(x):
    return x

class Registry:
    def __init__(self):
        self.made = {}
    def register(self, name):
        def decorate(function):
            self.made[name] = function
            return function
        return decorate

registry = Registry()
table = {}

def register_hook(name):
    def decorate(function):
        def call(*arguments):  # without functools.wraps
            return function(*arguments)
        table[name] = call
        return call
    return decorate
"""
NET = "\nclass Net(torch.nn.Module):\n    def forward(self, x): return {call} + 1\n"
CONTESTED = {
    "a new function of a shared module": (
        "import torch\nimport torch.nn.functional as F\ndef scaled(x): return x * {n}\nF.toy_scaled = scaled",
        "F.toy_scaled(x)",
    ),
    "a wrapped function of a shared module": (
        "import torch\nimport toy_shared\ndef wrap(f):\n    def scaled(x): return f(x) * {n}\n    return scaled\n"
        "toy_shared.scaled = wrap(toy_shared.scaled)",
        "toy_shared.scaled(x)",
    ),
    "a new method of a shared class": (
        "import torch\ndef toy(self, x): return x * {n}\ntorch.nn.Identity.toy = toy\ninner = torch.nn.Identity()",
        "inner.toy(x)",
    ),
    "a new property of a shared class": (
        "import torch\ntorch.nn.Identity.toy = property(lambda self: {n})\ninner = torch.nn.Identity()",
        "x * inner.toy",
    ),
    "a registry of classes": (
        "import torch\nimport toy_shared\n@toy_shared.registry.register('toy')\nclass Scale:\n"
        "    def __init__(self, x): self.x = x\n    def scaled(self): return self.x * {n}",
        "toy_shared.registry.made['toy'](x).scaled()",
    ),
    "a registry with names": (
        "import torch\nimport toy_shared\ntoy_shared.registry.register('toy')(lambda x: x * {n})",
        "toy_shared.registry.made['toy'](x)",
    ),
    "a KL divergence": (
        "import torch\nfrom torch.distributions import Cauchy, register_kl, kl_divergence\n"
        "@register_kl(Cauchy, Cauchy)\ndef kl(p, q): return p.loc * {n}",
        "kl_divergence(Cauchy(x, x), Cauchy(x, x))",
    ),
}
REFUSED = "import toy_shared\ntoy_shared.Registry = type('Registry', (), {'number': {n}})"
X = torch.ones(2)


@pytest.fixture(autouse=True)
def _shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "toy_shared.py").write_text(SHARED)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("toy_shared", None)
    torch._dynamo.reset()


@pytest.fixture(params=CONTESTED, ids=lambda name: name.replace(" ", "-"))
def modules(versions: AddVersions, request: pytest.FixtureRequest) -> list[ModuleType]:
    """Three versions that registered different functions under one name, each with a `Net` that calls its own."""
    registration, call = CONTESTED[request.param]
    entries = versions({"toy_zoo/__init__.py": registration + NET.replace("{call}", call)})
    return [entry.import_module("toy_zoo") for entry in entries.values()]


def _answers(modules: list[ModuleType], prepare: Callable[[Any], Callable[..., Any]]) -> list[float]:
    return [float(prepare(module.Net())(X)[0]) - 1 for module in (*modules, *modules)]


def test_compiled_code_calls_its_own(modules: list[ModuleType]) -> None:
    assert _answers(modules, lambda net: torch.compile(net, backend="eager")) == [1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize("registration", ["a wrapped function of a shared module", "a new property of a shared class"])
def test_registering_imports_no_compiler_and_what_is_compiled_later_calls_its_own(
    versions: AddVersions, store: Store, tmp_path: Path, registration: str
) -> None:
    code, call = CONTESTED[registration]
    versions({"toy_zoo/__init__.py": code + NET.replace("{call}", call)})
    program = (
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport torch\nfrom app_loader.store import Store\n"
        "entries = Store(sys.argv[1]).entries()\nnets = [e.import_module('toy_zoo').Net() for e in entries]\n"
        "finders = len(sys.meta_path)\nprint('torch._dynamo' in sys.modules)\n"
        "compiled = [torch.compile(net, backend='eager') for net in nets]\n"
        "for net in (*compiled, *compiled): print(int(net(torch.ones(2))[0]) - 1)\nprint(len(sys.meta_path) - finders)"
    )
    command = [sys.executable, "-W", "ignore", "-c", program, str(store.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "1", "2", "3", "1", "2", "3", "0"]


LOOKED_UP = {
    "not": "",
    "without importing it": (
        "place = [torch.__path__[0] + '/_dynamo']\n"
        "for finder in [*sys.meta_path]: finder.find_spec('torch._dynamo.decorators', place)\n"
    ),
}


@pytest.mark.parametrize("looked_up", LOOKED_UP)
def test_what_is_kept_from_the_compiler_before_it_is_imported_is_never_compiled(looked_up: str) -> None:
    program = (
        "import sys\nimport torch\nfrom app_loader.isolated._from_dynamo import keep_from_dynamo\n"
        "finders = len(sys.meta_path)\n"
        f"def kept(x): return torch.sin(x)\nkeep_from_dynamo(kept, because='it is kept')\n{LOOKED_UP[looked_up]}"
        "print('torch._dynamo' in sys.modules)\nseen = []\n"
        "def backend(graph, inputs):\n    seen.extend(str(node.target) for node in graph.graph.nodes)\n"
        "    return graph.forward\ndef caller(x): return kept(x) * 2\n"
        "torch.compile(caller, backend=backend)(torch.ones(1))\n"
        "print(any('sin' in name for name in seen), any('mul' in name for name in seen))\n"
        "from app_loader.isolated import _from_dynamo\n"
        "print(len(_from_dynamo._waiting), len(sys.meta_path) - finders)"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True", "0", "0"]


def test_exported_and_traced_code_has_its_own(modules: list[ModuleType]) -> None:
    assert _answers(modules, lambda net: torch.export.export(net, (X,), strict=False).module()) == [1, 2, 3, 1, 2, 3]
    assert _answers(modules, lambda net: torch.fx.symbolic_trace(net)) == [1, 2, 3, 1, 2, 3]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning", "ignore:.*torch.jit.script:DeprecationWarning")
def test_a_compiler_that_cannot_tell_who_asks_refuses(modules: list[ModuleType]) -> None:
    unsupported = torch._dynamo.exc.Unsupported
    for module in modules:
        with pytest.raises(unsupported, match="depends on whose code calls"):
            torch.compile(module.Net(), backend="eager", fullgraph=True)(X)
        with pytest.raises(unsupported):
            torch.export.export(module.Net(), (X,), strict=True)
        with pytest.raises((RuntimeError, torch.jit.frontend.NotSupportedError)):
            torch.jit.script(module.Net())


def test_threads_of_all_versions_at_once_call_their_own(modules: list[ModuleType]) -> None:
    nets = [module.Net() for module in modules] * 8
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda net: [float(net(X)[0]) - 1 for _ in range(50)], nets))
    assert found == [[number] * 50 for number in (1, 2, 3)] * 8


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_child_process_calls_each_versions_own(versions: AddVersions, method: str) -> None:
    files = {
        f"toy_zoo/m{i}.py": code + NET.replace("{call}", call) for i, (code, call) in enumerate(CONTESTED.values())
    }
    entries = versions({"toy_zoo/__init__.py": "", **files})
    with ProcessPoolExecutor(1, get_context(method)) as pool:
        for number in range(len(CONTESTED)):
            nets = [entry.import_module(f"toy_zoo.m{number}").Net() for entry in entries.values()]
            assert [float(pool.submit(net, X).result()[0]) - 1 for net in nets] == [1, 2, 3]


RUNNING = {
    "assigning": "toy_shared.table['toy'] = f",
    "setting an attribute": "setattr(toy_shared, 'toy', f)",
    "registering": "toy_shared.registry.register('toy')(f)",
}


@pytest.mark.parametrize("way", RUNNING)
def test_of_threads_that_write_while_the_program_runs_each_reaches_its_own(versions: AddVersions, way: str) -> None:
    source = (
        "import toy_shared\ndef f(): return {n}\ndef write():\n    {way}\n"
        "def ask():\n    return (toy_shared.table | toy_shared.registry.made | vars(toy_shared))['toy']()"
    )
    entries = versions({"toy_zoo.py": source.replace("{way}", RUNNING[way])})
    modules = [entry.import_module("toy_zoo") for entry in entries.values()]
    shared = importlib.import_module("toy_shared")
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    start = Barrier(3)

    def run(module: ModuleType) -> int:
        start.wait()
        module.write()
        start.wait()
        return int(module.ask())

    try:
        with ThreadPoolExecutor(3) as pool:
            for _ in range(60):
                assert list(pool.map(run, modules)) == [1, 2, 3]
                for place in (shared.table, shared.registry.made, vars(shared)):
                    place.pop("toy", None)
    finally:
        sys.setswitchinterval(before)


def test_of_threads_that_import_at_once_one_holds_the_place_and_the_others_are_refused(versions: AddVersions) -> None:
    entries = versions({"toy_zoo.py": REFUSED})

    def load(number: str) -> str | RegistrationConflictError:
        try:
            entries[number].import_module("toy_zoo")
        except RegistrationConflictError as error:
            return error
        return number

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(load, entries))
    (holder,) = [each for each in found if isinstance(each, str)]
    refused = [each for each in found if not isinstance(each, str)]
    assert {each.holder for each in refused} == {f"toy-zoo {holder}.0"}
    assert {each.subject for each in refused} == {f"toy-zoo {n}.0" for n in entries if n != holder}
    assert int(holder) == importlib.import_module("toy_shared").Registry.number


def test_a_child_process_is_refused_in_the_same_words(versions: AddVersions, store: Store) -> None:
    versions({"toy_zoo.py": REFUSED})
    program = "from app_loader.store import Store\nStore({!r}).find('toy-zoo', '{}.0').import_module('toy_zoo')"
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(exec, program.format(str(store.path), 1)).result()
        with pytest.raises(RegistrationConflictError) as caught:
            pool.submit(exec, program.format(str(store.path), 2)).result()
        pool.submit(exec, program.format(str(store.path), 1)).result()
    assert (caught.value.subject, caught.value.holder) == ("toy-zoo 2.0", "toy-zoo 1.0")
    assert (caught.value.table, caught.value.name) == ("toy_shared", "Registry")


def test_what_a_shared_decorator_made_of_a_function_is_left_as_it_is(versions: AddVersions) -> None:
    source = """
import toy_shared
@toy_shared.register_hook("at import {n}")
def hook(barrier): barrier.wait(5)
def late():
    @toy_shared.register_hook("late {n}")
    def hook(barrier): barrier.wait(5)
    return hook
"""
    entry = next(iter(versions({"toy_zoo/__init__.py": source}).values()))
    module = entry.import_module("toy_zoo")
    late, table = module.late(), sys.modules["toy_shared"].table
    assert {id(module.hook), id(late)} == {id(call) for call in table.values()}
    for hook in (module.hook, late):  # two threads are in the function at once, or the barrier breaks
        barrier = threading.Barrier(2)
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(hook, barrier) for _ in range(2)]:
                done.result()
