"""Tables that belong to the process answer per version: operators, pytree names, data pipes, contract registries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from app_loader.errors import IsolationError, RegistrationConflictError
from app_loader.isolated import unload
from app_loader.store import Entry
from torch.utils import _pytree as pytree
from torch.utils.data import functional_datapipe
from torch.utils.data.datapipes.datapipe import IterDataPipe
from torch.utils.data.datapipes.iter import IterableWrapper

AddVersions = Callable[..., dict[str, Entry]]

CUSTOM_OP = """
import torch
from torch import Tensor

@torch.library.custom_op("toy_zoo::scaled", mutates_args=())
def scaled(x: Tensor) -> Tensor:
    return x * {n}

@scaled.register_fake
def _(x):
    return torch.empty_like(x)

class Net(torch.nn.Module):
    def forward(self, x):
        return torch.ops.toy_zoo.scaled(x)
"""
LIBRARY = """
import torch
from torch.library import Library, impl, register_fake

lib = Library("toy_zoo", "DEF")
lib.define("scaled(Tensor x) -> Tensor")

@impl(lib, "scaled", "CompositeExplicitAutograd")
def scaled(x):
    return x * {n}

@register_fake("toy_zoo::scaled")
def _(x):
    return torch.empty_like(x)

class Net(torch.nn.Module):
    def forward(self, x):
        return torch.ops.toy_zoo.scaled.default(x)
"""
DEFINE = """
import torch
from torch.library import define, impl, register_fake
from torch import ops

define("toy_zoo::scaled", "(Tensor x) -> Tensor")

@impl("toy_zoo::scaled", "default")
def scaled(x):
    return x * {n}

@register_fake("toy_zoo::scaled")
def _(x):
    return torch.empty_like(x)

class Net(torch.nn.Module):
    def forward(self, x):
        return ops.toy_zoo.scaled(x)
"""


@pytest.mark.parametrize("source", [CUSTOM_OP, LIBRARY, DEFINE], ids=["custom_op", "Library", "define"])
def test_an_operator_of_one_name_is_each_versions_own(versions: AddVersions, source: str) -> None:
    entries = versions({"toy_zoo/__init__.py": source})
    nets = {n: entry.import_module("toy_zoo").Net() for n, entry in entries.items()}
    for run in (
        nets,
        {n: torch.compile(net, backend="eager") for n, net in nets.items()},
        {n: torch.export.export(net, (torch.ones(1),)).module() for n, net in nets.items()},
    ):
        assert [float(run[n](torch.ones(1))) for n in ("1", "2", "3", "1")] == [1, 2, 3, 1]
    assert not hasattr(torch.ops.toy_zoo, "scaled")
    torch._dynamo.reset()


KERNEL_FIRST = {
    "by name": "@torch.library.impl('toy_first::scaled', ['CPU'])\ndef scaled(x): return x * {n}\n{define}",
    "as an argument": "def scaled(x): return x * {n}\ntorch.library.impl('toy_first::scaled', 'CPU', scaled)\n{define}",
    "in a library": (
        "lib = torch.library.Library('toy_first', 'FRAGMENT')\ndef scaled(x): return x * {n}\n"
        "lib.impl('scaled', scaled, 'CPU')\nlib.define('scaled(Tensor x) -> Tensor')"
    ),
}


@pytest.mark.parametrize("way", KERNEL_FIRST)
def test_an_operator_may_be_defined_after_its_kernel(versions: AddVersions, way: str) -> None:
    define = "torch.library.define('toy_first::scaled', '(Tensor x) -> Tensor')"
    source = f"import torch\n{KERNEL_FIRST[way].replace('{define}', define)}\n"
    call = "def call(): return torch.ops.toy_first.scaled(torch.ones(1))"
    modules = [entry.import_module("toy_zoo") for entry in versions({"toy_zoo.py": source + call}).values()]
    assert [float(module.call()) for module in modules * 2] == [1, 2, 3, 1, 2, 3]
    assert not hasattr(torch.ops.toy_first, "scaled")


@pytest.mark.parametrize("way", ["by name", "as an argument"])
def test_a_kernel_that_comes_first_is_not_put_into_the_operator_of_a_plain_import(
    versions: AddVersions, way: str
) -> None:
    with torch.library._scoped_library("toy_plain", "FRAGMENT") as plain:
        plain.define("scaled(Tensor x) -> Tensor")
        plain.impl("scaled", lambda x: x * 9, "CPU")
        define = "torch.library.define('toy_plain::scaled', '(Tensor x) -> Tensor')"
        source = "import torch\n" + KERNEL_FIRST[way].replace("{define}", define).replace("toy_first", "toy_plain")
        call = "\ndef call(): return torch.ops.toy_plain.scaled(torch.ones(1))"
        modules = [entry.import_module("toy_zoo") for entry in versions({"toy_zoo.py": source + call}).values()]
        assert [float(module.call()) for module in modules * 2] == [1, 2, 3, 1, 2, 3]
        assert float(torch.ops.toy_plain.scaled(torch.ones(1))) == 9


def test_a_kernel_for_an_operator_of_another_library_is_the_firsts_and_refused_to_the_second(
    versions: AddVersions,
) -> None:
    with torch.library._scoped_library("toy_lib", "FRAGMENT") as shared:
        shared.define("scaled(Tensor x) -> Tensor")
        source = "import torch\n@torch.library.impl('toy_lib::scaled', 'CPU')\ndef scaled(x): return x * {n}"
        entries = versions({"toy_zoo.py": source})
        entries["1"].import_module("toy_zoo")
        assert float(torch.ops.toy_lib.scaled(torch.ones(1))) == 1
        with pytest.raises(RegistrationConflictError):
            entries["2"].import_module("toy_zoo")
        assert float(torch.ops.toy_lib.scaled(torch.ones(1))) == 1


def test_operators_that_the_unit_does_not_define_are_the_shared_ones(versions: AddVersions) -> None:
    source = "import torch\nanswer = torch.ops.aten.add(torch.ones(1), {n})\nsame = torch.ops.aten"
    for number, entry in versions({"toy_zoo/__init__.py": source}).items():
        module = entry.import_module("toy_zoo")
        assert float(module.answer) == 1 + int(number)
        assert module.same is torch.ops.aten


def test_serialized_pytree_names_do_not_displace_each_other(versions: AddVersions) -> None:
    source = """
import torch.utils._pytree as pytree

class Box:
    def __init__(self, value):
        self.value = value

pytree.register_pytree_node(
    Box,
    lambda box: ([box.value], {n}),
    lambda values, number: Box(values[0] * number),
    serialized_type_name="toy_zoo.Box",
    to_dumpable_context=lambda number: number,
    from_dumpable_context=lambda number: number,
)
"""
    modules = {n: entry.import_module("toy_zoo") for n, entry in versions({"toy_zoo/__init__.py": source}).items()}
    specs = {n: pytree.treespec_dumps(pytree.tree_structure(m.Box(0))) for n, m in modules.items()}
    for number, module in modules.items():
        back = pytree.tree_unflatten([7], pytree.treespec_loads(specs[number]))
        assert type(back) is module.Box
        assert back.value == 7 * int(number)


DATACLASSES = {
    "of the pytree module": "import torch.utils._pytree as pytree\nregister = pytree.register_dataclass",
    "by name": "from torch.utils._pytree import register_dataclass as register",
    "of torch.export": "import torch\nregister = torch.export.register_dataclass",
    "of torch.export, by name": "from torch.export import register_dataclass as register",
}


@pytest.mark.parametrize("imported", DATACLASSES.values(), ids=[name.replace(" ", "-") for name in DATACLASSES])
def test_serialized_names_of_dataclasses_do_not_displace_each_other(versions: AddVersions, imported: str) -> None:
    source = (
        imported
        + """
import dataclasses

@dataclasses.dataclass
class Box:
    value: int
    def answer(self):
        return self.value * {n}

register(Box, serialized_type_name="toy_zoo.Box")
"""
    )
    modules = {n: entry.import_module("toy_zoo") for n, entry in versions({"toy_zoo/__init__.py": source}).items()}
    specs = {n: pytree.treespec_dumps(pytree.tree_structure(m.Box(0))) for n, m in modules.items()}
    for number, module in modules.items():
        back = pytree.tree_unflatten([7], pytree.treespec_loads(specs[number]))
        assert type(back) is module.Box
        assert back.answer() == 7 * int(number)


PIPES = """
from torch.utils.data import IterDataPipe, functional_datapipe

@functional_datapipe("toy_scaled")
class Scaled(IterDataPipe):
    def __init__(self, source):
        self.source = source
    def __iter__(self):
        for value in self.source:
            yield value * {n}

class Start(IterDataPipe):
    def __iter__(self):
        yield from [1]

def through_shared(pipe):
    return pipe.toy_scaled()
"""


@pytest.fixture
def _clean_pipes() -> Any:
    yield
    IterDataPipe.functions.pop("toy_scaled", None)


@pytest.mark.usefixtures("_clean_pipes")
def test_a_data_pipes_name_means_the_version_upstream_or_the_caller(versions: AddVersions) -> None:
    entries = versions({"toy_zoo/__init__.py": PIPES})
    modules = {n: entry.import_module("toy_zoo") for n, entry in entries.items()}
    for number, module in modules.items():
        assert list(module.Start().toy_scaled()) == [int(number)]
        assert list(module.Start().shuffle().batch(1).unbatch().toy_scaled()) == [int(number)]
        assert list(module.through_shared(IterableWrapper([1]))) == [int(number)]
    with pytest.raises(IsolationError):
        IterableWrapper([1]).toy_scaled()

    @functional_datapipe("toy_scaled")  # an ordinary registration finds the name free
    class Plain(IterDataPipe[Any]):
        def __init__(self, source: Any) -> None:
            self.source = source

        def __iter__(self) -> Any:
            return iter([0])

    assert list(IterableWrapper([1]).toy_scaled()) == [0]
    assert list(modules["2"].Start().toy_scaled()) == [2]
    for entry in entries.values():
        unload(entry.unit)
    assert list(IterableWrapper([1]).toy_scaled()) == [0]
    assert not hasattr(IterDataPipe.functions["toy_scaled"], "own")  # torch's own again, and no router


def test_environments_of_a_shared_gymnasium_are_each_versions_own(versions: AddVersions) -> None:
    source = """
import gymnasium
from gymnasium.envs.registration import register

class World(gymnasium.Env):
    number = {n}
    observation_space = gymnasium.spaces.Discrete(2)
    action_space = gymnasium.spaces.Discrete(2)

register(id="ToyWorld-v0", entry_point="toy_zoo:World")

def make():
    return gymnasium.make("ToyWorld-v0", disable_env_checker=True).unwrapped
"""
    entries = versions({"toy_zoo/__init__.py": source})
    assert [entry.import_module("toy_zoo").make().number for entry in entries.values()] == [1, 2, 3]


def test_a_registry_by_subclassing_is_not_overwritten_by_a_later_version(versions: AddVersions) -> None:
    source = """
class Base:
    kinds = {}
    def __init_subclass__(cls):
        Base.kinds[cls.__name__] = cls

class Kind(Base):
    number = {n}
"""
    modules = {n: entry.import_module("toy_zoo") for n, entry in versions({"toy_zoo/__init__.py": source}).items()}
    assert [module.Base.kinds["Kind"].number for module in modules.values()] == [1, 2, 3]
    assert {len(module.Base.__subclasses__()) for module in modules.values()} == {1}


def test_builtins_set_by_old_code_stay_its_own(versions: AddVersions) -> None:
    files = {
        "toy_zoo/__init__.py": "import builtins\nbuiltins.toy_answer = {n}",
        "toy_zoo/asks.py": "answer = toy_answer",
    }
    entries = versions(files)
    for entry in entries.values():
        entry.import_module("toy_zoo")
    assert [entry.import_module("toy_zoo.asks").answer for entry in entries.values()] == [1, 2, 3]
    assert "toy_answer" not in vars(__import__("builtins"))
