"""Own names mean the own version, in every form of import and under every compiler of torch."""

from __future__ import annotations

import builtins
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from app_loader.isolated import unload
from app_loader.store import Entry

AddVersions = Callable[..., dict[str, Entry]]

FORMS = {
    "absolute from": "from toy_zoo.consts import scale\nanswer = scale",
    "from the package": "from toy_zoo import consts\nanswer = consts.scale",
    "relative": "from .consts import scale\nanswer = scale",
    "relative module": "from . import consts\nanswer = consts.scale",
    "dotted, which binds the root": "import toy_zoo.consts\nanswer = toy_zoo.consts.scale",
    "dotted under another name": "import toy_zoo.consts as c\nanswer = c.scale",
    "root under another name": "import toy_zoo as t\nimport toy_zoo.consts\nanswer = t.consts.scale",
    "two at once": "import os, toy_zoo.consts, sys as s\nanswer = toy_zoo.consts.scale",
    "star": "from toy_zoo.consts import *\nanswer = scale",
    "inside try": "try:\n    import toy_zoo.consts\nfinally:\n    pass\nanswer = toy_zoo.consts.scale",
    "inside a class": "class A:\n    from toy_zoo.consts import scale\nanswer = A.scale",
    "in executed text": "space = {}\nexec('from toy_zoo.consts import scale', space)\nanswer = space['scale']",
    "by __import__": "answer = __import__('toy_zoo.consts').consts.scale",
    "by __import__ with a list": "answer = __import__('toy_zoo.consts', fromlist=['scale']).scale",
    "by import_module": "import importlib\nanswer = importlib.import_module('toy_zoo.consts').scale",
    "by import_module, relative": "from importlib import import_module as i\nanswer = i('.consts', 'toy_zoo').scale",
    "by import_module below __package__": (
        "import importlib\nanswer = importlib.import_module('.consts', __package__).scale"
    ),
    "through sys.modules": "import sys\nimport toy_zoo.consts\nanswer = sys.modules['toy_zoo.consts'].scale",
    "through modules": "from sys import modules as m\nimport toy_zoo.consts\nanswer = m['toy_zoo.consts'].scale",
    "by the parts of __name__": (
        "import importlib\nanswer = importlib.import_module(__name__.split('.')[0] + '.consts').scale"
    ),
    "by pydoc": "import pydoc\nanswer = pydoc.locate('toy_zoo.consts.scale')",
    "by pkgutil": "import pkgutil\nanswer = pkgutil.resolve_name('toy_zoo.consts:scale')",
    "by a walk": (
        "import importlib, pkgutil, toy_zoo\n"
        "names = [m.name for m in pkgutil.walk_packages(toy_zoo.__path__, 'toy_zoo.')]\n"
        "answer = importlib.import_module([n for n in names if n.endswith('consts')][0]).scale"
    ),
    "from a file": (
        "import importlib.util, os, sys\n"
        "spec = importlib.util.spec_from_file_location('made_up', os.path.join(os.path.dirname(__file__), 'late.py'))\n"
        "made = importlib.util.module_from_spec(spec)\nsys.modules['made_up'] = made\nspec.loader.exec_module(made)\n"
        "answer = made.scale"
    ),
}


@pytest.mark.parametrize("form", FORMS, ids=lambda name: name.replace(" ", "-"))
def test_every_form_of_import_means_the_own_version(versions: AddVersions, form: str) -> None:
    files = {
        "toy_zoo/__init__.py": "",
        "toy_zoo/consts.py": "scale = {n}",
        "toy_zoo/late.py": "from toy_zoo.consts import scale",
        "toy_zoo/asks.py": FORMS[form],
    }
    entries = versions(files)
    assert [entry.import_module("toy_zoo.asks").answer for entry in entries.values()] == [1, 2, 3]
    assert not {name for name in sys.modules if name.partition(".")[0] in ("toy_zoo", "made_up")}


def test_a_modules_names_are_exactly_those_its_source_makes(versions: AddVersions) -> None:
    entry = versions({"toy_zoo/__init__.py": "import toy_zoo.a.b\nimport importlib.util\nimport sys", **PACKAGES})["1"]
    names = set(dir(entry.import_module("toy_zoo"))) - set(dir(entry.import_module("toy_zoo.a.b")))
    assert names == {"toy_zoo", "a", "importlib", "sys", "__path__"}


PACKAGES = {"toy_zoo/a/__init__.py": "", "toy_zoo/a/b.py": ""}

FORWARD = """
import importlib
import torch
import toy_zoo.consts


class Net(torch.nn.Module):
    def forward(self, x):
        {body}
"""
BODIES = {
    "from": "from toy_zoo.consts import scale; return x * scale",
    "dotted": "import toy_zoo.consts; return x * toy_zoo.consts.scale",
    "relative": "from .consts import scale; return x * scale",
    "global": "return x * toy_zoo.consts.scale",
    "import_module": "return x * importlib.import_module('toy_zoo.consts').scale",
}


def nets(versions: AddVersions, body: str) -> Mapping[str, torch.nn.Module]:
    source = FORWARD.replace("{body}", BODIES[body])
    entries = versions({"toy_zoo/__init__.py": "", "toy_zoo/consts.py": "scale = {n}", "toy_zoo/net.py": source})
    return {number: entry.import_module("toy_zoo.net").Net() for number, entry in entries.items()}


def answers(functions: Mapping[str, Callable[[torch.Tensor], Any]]) -> list[float]:
    return [float(functions[number](torch.ones(1))) for number in ("1", "2", "3", "1")][:3]


@pytest.mark.parametrize("body", BODIES)
def test_forward_computes_with_its_own_version_when_run_plainly(versions: AddVersions, body: str) -> None:
    assert answers(nets(versions, body)) == [1, 2, 3]


@pytest.mark.parametrize("body", BODIES)
def test_forward_computes_with_its_own_version_when_compiled(versions: AddVersions, body: str) -> None:
    torch._dynamo.reset()
    compiled = {n: torch.compile(net, backend="eager") for n, net in nets(versions, body).items()}
    assert answers(compiled) == [1, 2, 3]
    torch._dynamo.reset()


HELPED = {
    "a module's name": "return x * (toy_zoo.consts.scale if self.__module__.split('.')[0] == 'toy_zoo' else 0)",
    "an operator": "return torch.ops.aten.mul(x, torch.ops.toy.number(x))",
    "an attribute": "setattr(self, 'seen', toy_zoo.consts.scale); return x * self.seen",
}


@pytest.mark.parametrize("body", HELPED)
def test_a_compiler_that_starts_in_shared_code_finds_what_rewritten_code_names(
    versions: AddVersions, body: str
) -> None:
    torch._dynamo.reset()
    defined = """
import torch

@torch.library.custom_op("toy::number", mutates_args=())
def number(x: torch.Tensor) -> torch.Tensor:
    return torch.full_like(x, {n})

@number.register_fake
def _(x): return torch.empty_like(x)

scale = {n}
"""
    source = FORWARD.replace("{body}", HELPED[body])
    entries = versions({"toy_zoo/__init__.py": "", "toy_zoo/consts.py": defined, "toy_zoo/net.py": source})
    made = {n: torch.nn.Sequential(entry.import_module("toy_zoo.net").Net()) for n, entry in entries.items()}
    assert answers(made) == [1, 2, 3]
    assert answers({n: torch.compile(net, backend="eager") for n, net in made.items()}) == [1, 2, 3]
    named = {name for name in vars(builtins) if name.startswith("__mpt_toy_zoo__1_0__")}
    assert named
    unload(entries["1"].unit)
    assert not named & vars(builtins).keys()
    torch._dynamo.reset()


def test_a_text_for_people_spells_modules_as_the_source_does(versions: AddVersions) -> None:
    source = """
class Layer:
    def __repr__(self): return f"{type(self).__module__}.{type(self).__name__}({n})"
class Other:
    def __repr__(self): return "%s.%s" % (type(self).__module__, {n})
class Shown:
    def __repr__(self): parts = [str(self.__class__)]; return " ".join(parts)
class Joined:
    def __str__(self): return ".".join([self.__class__.__module__, str({n})])
def basic_repr():
    def shown(self): return str(type(self).__module__) + "." + "{}".format(self.__module__) + "{n}"
    return shown
class Added:
    __repr__ = basic_repr()
def key(kind): return f"{kind.__module__}.{kind.__name__}"
"""
    entries = versions({"toy_zoo/__init__.py": "", "toy_zoo/net.py": source})
    modules = {number: entry.import_module("toy_zoo.net") for number, entry in entries.items()}
    for number, module in modules.items():
        shown = [str(kind()) for kind in (module.Layer, module.Other, module.Joined, module.Added)]
        assert repr(module.Shown()) == "<class 'toy_zoo.net.Shown'>"
        assert shown[0] == f"toy_zoo.net.Layer({number})"
        assert shown[1:] == [f"toy_zoo.net.{number}", f"toy_zoo.net.{number}", f"toy_zoo.net.toy_zoo.net{number}"]
    # what may name a place in a table of the process stays distinct
    assert len({module.key(module.Layer) for module in modules.values()}) == 3


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("body", BODIES)
def test_forward_computes_with_its_own_version_when_exported(versions: AddVersions, body: str, strict: bool) -> None:
    torch._dynamo.reset()
    exported = {
        n: torch.export.export(net, (torch.ones(1),), strict=strict).module() for n, net in nets(versions, body).items()
    }
    assert answers(exported) == [1, 2, 3]
    torch._dynamo.reset()


def test_scripted_modules_compute_with_their_own_version(versions: AddVersions) -> None:
    source = """
import torch
from toy_zoo.ops import scaled

class Net(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return scaled(x)
"""
    ops = "import torch\ndef scaled(x: torch.Tensor) -> torch.Tensor:\n    return x * {n}\n"
    entries = versions({"toy_zoo/__init__.py": "", "toy_zoo/ops.py": ops, "toy_zoo/net.py": source})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that it will drop torch.jit one day
        scripted = {n: torch.jit.script(e.import_module("toy_zoo.net").Net()) for n, e in entries.items()}
        assert answers(scripted) == [1, 2, 3]
