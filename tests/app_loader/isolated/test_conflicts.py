"""Three versions write into one table of the process: each gets its own answer, or is refused by name."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from app_loader.errors import RegistrationConflictError
from app_loader.isolated import unload
from app_loader.store import Entry

AddVersions = Callable[..., dict[str, Entry]]

REFUSED = {
    "a setting of a backend": (
        "import torch\ntorch.backends.toy_level = {n}\ndef answer(): return torch.backends.toy_level",
        ("torch.backends", "toy_level"),
    ),
    "a level of logging": (
        "import logging\nlogging.addLevelName(3{n}, 'TOY')\ndef answer(): return logging.getLevelName('TOY') - 30",
        ("logging._nameToLevel", "TOY"),
    ),
    "an error handler of codecs": (
        "import codecs\ncodecs.register_error('toy', lambda error: ('{n}', error.end))\n"
        "def answer(): return int('\\xe9'.encode('ascii', 'toy'))",
        ("_codecs.register_error", "toy"),
    ),
    "a pytree node of a shared class": (
        "import collections\nimport torch.utils._pytree as pytree\n"
        "pytree.register_pytree_node(collections.ChainMap, lambda c: ([{n}], None), lambda v, c: v[0])\n"
        "def answer(): return pytree.tree_leaves(collections.ChainMap())[0]",
        ("torch.utils._pytree.SUPPORTED_NODES", "ChainMap"),
    ),
    "a kernel of a shared operator": (
        "import torch\n@torch.library.impl('aten::cauchy', 'XLA')\ndef kernel(x, *a, **k): return x + {n}\n"
        "def answer(): return 0",
        ("torch.library.impl", "aten::cauchy, XLA"),
    ),
    "a kernel of a shared operator, by a library": (
        "import torch\nlib = torch.library.Library('aten', 'IMPL')\n"
        "lib.impl('geometric', lambda x, *a, **k: x + {n}, 'XLA')\n"
        "def answer(): return 0",
        ("torch.library.Library", "aten::geometric, XLA"),
    ),
    "a module of a shared name": (
        "import sys, types\nmade = types.ModuleType('toy_made_up')\nmade.number = {n}\n"
        "sys.modules['toy_made_up'] = made\n"
        "def answer():\n    import toy_made_up\n    return toy_made_up.number",
        ("sys.modules", "toy_made_up"),
    ),
}
REPLACED = {
    "a method of a shared class": (
        "import torch\ndef forward(self, x): return x * {n}\ntorch.nn.Identity.forward = forward\n"
        "def answer(): return float(torch.nn.Identity()(torch.ones(1)))",
        ("torch.nn.modules.linear.Identity", "forward"),
    ),
    "a method, imported by name": (
        "import torch\nfrom torch.nn import Identity\nIdentity.forward = lambda self, x: x * {n}\n"
        "def answer(): return float(Identity()(torch.ones(1)))",
        ("torch.nn.modules.linear.Identity", "forward"),
    ),
    "a method, behind a condition on its line": (
        "import torch\nif True: torch.nn.Identity.forward = lambda self, x: x * {n}\n"
        "def answer(): return float(torch.nn.Identity()(torch.ones(1)))",
        ("torch.nn.modules.linear.Identity", "forward"),
    ),
    "a method, behind another statement": (
        "import torch\npass; torch.nn.Identity.forward = lambda self, x: x * {n}\n"
        "def answer(): return float(torch.nn.Identity()(torch.ones(1)))",
        ("torch.nn.modules.linear.Identity", "forward"),
    ),
    "a method, given two names at once": (
        "import torch\nforward = torch.nn.Identity.forward = lambda self, x: x * {n}\n"
        "def answer(): return float(torch.nn.Identity()(torch.ones(1)))",
        ("torch.nn.modules.linear.Identity", "forward"),
    ),
    "a method, by setattr": (
        "import torch\ndef patch(kind, name, value): setattr(kind, name, value)\n"
        "patch(torch.nn.Identity, 'forward', lambda self, x: x * {n})\n"
        "def answer(): return float(torch.nn.Identity()(torch.ones(1)))",
        ("torch.nn.modules.linear.Identity", "forward"),
    ),
    "an encoder of json": (
        "import json\ndef default(self, value): return {n}\njson.JSONEncoder.default = default\n"
        "def answer(): return int(json.dumps(1j))",
        ("json.encoder.JSONEncoder", "default"),
    ),
}
# what is imported, what is registered, what is asked
ROUTED = {
    "a new attribute of a shared module": (
        "import torch.nn.functional as F",
        "def scaled(x): return {n}\nF.toy_scaled = scaled",
        "F.toy_scaled(0)",
    ),
    "a new method of a shared class": (
        "from pathlib import Path",
        "def toy(self): return {n}\nPath.toy = toy",
        "Path('.').toy()",
    ),
    "an item of a shared table": (
        "import copyreg, fractions, pickle",
        "copyreg.dispatch_table[fractions.Fraction] = lambda f: (int, ({n},))",
        "pickle.loads(pickle.dumps(fractions.Fraction(1, 2)))",
    ),
    "copyreg": (
        "import copyreg, fractions, pickle",
        "copyreg.pickle(fractions.Fraction, lambda f: (int, ({n},)))",
        "pickle.loads(pickle.dumps(fractions.Fraction(1, 2)))",
    ),
    "a KL divergence between shared classes": (
        "from torch.distributions import Cauchy, register_kl, kl_divergence",
        "@register_kl(Cauchy, Cauchy)\ndef kl(p, q): return {n}",
        "kl_divergence(Cauchy(0., 1.), Cauchy(0., 1.))",
    ),
    "a KL divergence, replaced": (
        "from torch.distributions import Gumbel, register_kl, kl_divergence",
        "@register_kl(Gumbel, Gumbel)\ndef kl(p, q): return {n}",
        "kl_divergence(Gumbel(0., 1.), Gumbel(0., 1.))",
    ),
    "a single-dispatch function": (
        "import toy_shared",
        "@toy_shared.size.register(complex)\ndef _(value): return {n}",
        "toy_shared.size(1j)",
    ),
    "a single-dispatch function, called": (
        "import toy_shared",
        "toy_shared.size.register(complex, lambda value: {n})",
        "toy_shared.size(1j)",
    ),
    "a registry with a decorator": (
        "from toy_shared import registry",
        "@registry.register('toy')\ndef make(): return {n}",
        "registry.made['toy']()",
    ),
    "a registry in a function": (
        "from toy_shared import registry",
        "def set_up():\n    registry.register('toy')(lambda: {n})\nset_up()",
        "registry.made['toy']()",
    ),
    "a registry that refuses a taken name": (
        "import toy_shared",
        "toy_shared.register_once('toy', lambda: {n})",
        "toy_shared.once['toy']()",
    ),
    "a registry that copies on its first write": (
        "import yaml",
        "yaml.SafeLoader.add_constructor('!toy', lambda loader, node: {n})",
        "yaml.safe_load('!toy x')",
    ),
    "a registry reached through a function": (
        "import yaml",
        "def construct(loader, node): return {n}\nyaml.add_constructor('!toy', construct, Loader=yaml.SafeLoader)",
        "yaml.safe_load('!toy x')",
    ),
    "a reducer of multiprocessing": (
        "import pickle\nfrom fractions import Fraction\nfrom multiprocessing.reduction import ForkingPickler",
        "ForkingPickler.register(Fraction, lambda f: (int, ({n},)))",
        "pickle.loads(ForkingPickler.dumps(Fraction(1, 2)))",
    ),
    "a backend of the compiler": (
        "import torch, torch._dynamo",
        "@torch._dynamo.register_backend(name='toy')\ndef toy(gm, inputs): return {n}",
        "torch._dynamo.lookup_backend('toy')(None, None)",
    ),
}
SHARED = """
import functools

class Registry:
    def __init__(self):
        self.made = {}
    def register(self, name):
        def remember(function):
            self.made[name] = function
            return function
        return remember
    def size(self):
        return len(self.made)

registry = Registry()
once = {}
classes = {}

class Base:
    pass

def register_class(name, kind):
    classes[name] = kind

def make(name, size):
    return classes[name](size)

def register_once(name, function):
    if name in once:
        raise ValueError(name)
    once[name] = lambda: function()

def scaled(x):
    return x

@functools.singledispatch
def size(value):
    return 0
"""


@pytest.fixture
def _shared(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "toy_shared.py").write_text(SHARED)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    importlib.import_module("sys").modules.pop("toy_shared", None)


@pytest.mark.usefixtures("_shared")
@pytest.mark.parametrize("table", REFUSED, ids=lambda name: name.replace(" ", "-"))
def test_a_second_version_is_refused_by_name_and_changes_nothing(versions: AddVersions, table: str) -> None:
    source, (where, key) = REFUSED[table]
    entries = versions({"toy_zoo/__init__.py": source})
    first = entries["1"].import_module("toy_zoo")
    answered = first.answer()
    assert answered in (1, 0)
    for number in ("2", "3"):
        with pytest.raises(RegistrationConflictError) as caught:
            entries[number].import_module("toy_zoo")
        assert (caught.value.subject, caught.value.holder) == (f"toy-zoo {number}.0", "toy-zoo 1.0")
        assert (caught.value.table, caught.value.name) == (where, key)
        assert first.answer() == answered
    assert entries["1"].import_module("toy_zoo") is first


@pytest.mark.usefixtures("_shared")
@pytest.mark.parametrize("table", ROUTED, ids=lambda name: name.replace(" ", "-"))
def test_each_version_calls_the_function_that_it_registered_itself(versions: AddVersions, table: str) -> None:
    imports, registration, question = ROUTED[table]
    source = f"{imports}\n{registration}\ndef answer(): return {question}"
    entries = versions({"toy_zoo/__init__.py": source})
    modules = [entry.import_module("toy_zoo") for entry in entries.values()]
    assert [module.answer() for module in (*modules, *modules)] == [1, 2, 3, 1, 2, 3]
    outside: dict[str, Any] = {}
    exec(imports, outside)
    with pytest.raises(RegistrationConflictError) as caught:  # nobody's code: no guess
        eval(question, outside)
    assert caught.value.holder == "toy-zoo 1.0 and toy-zoo 2.0 and toy-zoo 3.0"
    for number in ("1", "2"):
        unload(entries[number].unit)
    assert eval(question, outside) == 3


@pytest.mark.parametrize("table", REPLACED, ids=lambda name: name.replace(" ", "-"))
def test_what_each_version_replaces_is_replaced_for_its_own_code(
    versions: AddVersions, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    source, (where, key) = REPLACED[table]
    owner = pkgutil.resolve_name(f"{where.rpartition('.')[0]}:{where.rpartition('.')[2]}")
    outside: dict[str, Any] = {}
    original = vars(owner)[key]
    entries = versions({"toy_zoo/__init__.py": source})
    modules = [entry.import_module("toy_zoo") for entry in entries.values()]
    assert [module.answer() for module in (*modules, *modules)] == [1, 2, 3, 1, 2, 3]
    assert f"{where}: {key}: toy-zoo 1.0 and toy-zoo 2.0 each replace it for their own code" in caplog.text
    exec("import json\nimport torch\nlayer = torch.nn.Identity()", outside)
    assert float(outside["layer"](outside["torch"].ones(1) * 7)) == 7  # nobody's code: what was there before
    with pytest.raises(TypeError):
        json.dumps(1j)
    for entry in entries.values():
        unload(entry.unit)
    assert vars(owner)[key] is original


CLASSES = """
import toy_shared
class Codec(toy_shared.Base):
    def __init__(self, size): self.size = size + {n}
    number = {n}
toy_shared.register_class("codec", Codec)
def answer():
    made = toy_shared.make("codec", 0)
    class Wider(toy_shared.classes["codec"]): pass
    return made.size if isinstance(made, Codec) and isinstance(made, toy_shared.classes["codec"]) and (
        toy_shared.classes["codec"].number == Wider.number == made.size) else 0
"""


@pytest.mark.usefixtures("_shared")
def test_each_version_finds_its_own_class_in_a_shared_table(versions: AddVersions) -> None:
    entries = versions({"toy_zoo/__init__.py": CLASSES})
    modules = [entry.import_module("toy_zoo") for entry in entries.values()]
    assert [module.answer() for module in (*modules, *modules)] == [1, 2, 3, 1, 2, 3]
    shared = importlib.import_module("toy_shared")
    stands = shared.classes["codec"]
    assert isinstance(stands, type)
    assert issubclass(modules[1].Codec, stands)
    with pytest.raises(RegistrationConflictError):
        shared.make("codec", 0)
    for number in ("1", "3"):
        unload(entries[number].unit)
    assert shared.make("codec", 0).size == 2


@pytest.mark.usefixtures("_shared")
def test_classes_of_the_same_content_are_each_versions_own_and_anybodys_first(versions: AddVersions) -> None:
    body = "    lock = __import__('threading').Lock()\n    number"
    source = CLASSES.replace("{n}", "1").replace("    number", body, 1) + "# {n}"
    modules = [entry.import_module("toy_zoo") for entry in versions({"toy_zoo/__init__.py": source}).values()]
    assert [module.answer() for module in modules] == [1, 1, 1]
    assert type(importlib.import_module("toy_shared").make("codec", 0)) is modules[0].Codec


@pytest.mark.usefixtures("_shared")
def test_members_that_versions_put_into_shared_classes_are_their_own(versions: AddVersions) -> None:
    source = """
import toy_shared
toy_shared.Registry.width = property(lambda self: len(self.made) + {n})
toy_shared.Registry.depth = property(lambda self: {n})
toy_shared.Registry.named = classmethod(lambda cls: {n})
def answer():
    registry = toy_shared.registry
    return {n} if (registry.width, registry.depth, registry.named()) == ({n}, {n}, {n}) else 0
"""
    entries = versions({"toy_zoo/__init__.py": source})
    modules = [entry.import_module("toy_zoo") for entry in entries.values()]
    assert [module.answer() for module in (*modules, *modules)] == [1, 2, 3, 1, 2, 3]
    with pytest.raises(RegistrationConflictError):  # nobody's code, and nothing was there before
        importlib.import_module("toy_shared").registry.width  # noqa: B018


@pytest.mark.usefixtures("_shared")
@pytest.mark.parametrize("guard", ["if True", "if not hasattr(toy_shared.Registry, '_old_size')"])
def test_what_a_version_keeps_aside_is_what_stood_there_before_any(versions: AddVersions, guard: str) -> None:
    source = f"""
import toy_shared
{guard}: toy_shared.Registry._old_size = toy_shared.Registry.size
def size(self): return self._old_size() + {{n}}
toy_shared.Registry.size = size
def answer(): return toy_shared.registry.size()
"""
    modules = [entry.import_module("toy_zoo") for entry in versions({"toy_zoo/__init__.py": source}).values()]
    assert [module.answer() for module in (*modules, *modules)] == [1, 2, 3, 1, 2, 3]
    assert importlib.import_module("toy_shared").registry.size() == 0


@pytest.mark.usefixtures("_shared")
def test_methods_that_are_patched_for_a_while_and_removed_bother_nobody(versions: AddVersions) -> None:
    source = """
import toy_shared
def patched():
    kind = toy_shared.Registry
    for name in ("size", "__delattr__"):
        setattr(kind, "_old" + name, getattr(kind, name))
    setattr(kind, "size", lambda self: {n})
    setattr(kind, "__delattr__", lambda self, name: object.__delattr__(self, name))
    try:
        return toy_shared.registry.size()
    finally:
        for name in ("size", "__delattr__"):
            setattr(kind, name, getattr(kind, "_old" + name))
            delattr(kind, "_old" + name)
"""
    modules = [entry.import_module("toy_zoo") for entry in versions({"toy_zoo/__init__.py": source}).values()]
    assert [module.patched() for module in (*modules, *modules)] == [1, 2, 3, 1, 2, 3]
    assert importlib.import_module("toy_shared").registry.size() == 0


@pytest.mark.usefixtures("_shared")
def test_what_a_plain_import_of_the_package_registered_stays_the_applications(
    versions: AddVersions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import toy_shared\nfrom toy_zoo.numbers import number\n" + (
        "class Codec(toy_shared.Base):\n    def __init__(self, size): self.size = number\n"
        "toy_shared.register_class('codec', Codec)\n"
        "toy_shared.scaled = lambda x: number\n"
        "def answer(): return (toy_shared.make('codec', 0).size, toy_shared.scaled(0))"
    )
    folder = tmp_path / "plain" / "toy_zoo"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(source)
    (folder / "numbers.py").write_text("number = 9")
    monkeypatch.syspath_prepend(str(folder.parent))
    for name in ("toy_zoo", "toy_zoo.numbers"):
        monkeypatch.setitem(sys.modules, name, sys)  # so that what stood there before comes back afterwards
        del sys.modules[name]
    plain = importlib.import_module("toy_zoo")
    entries = versions({"toy_zoo/__init__.py": source, "toy_zoo/numbers.py": "number = {n}"})
    modules = [plain, *(entry.import_module("toy_zoo") for entry in entries.values())]
    assert [module.answer() for module in (*modules, *modules)] == [(9, 9), (1, 1), (2, 2), (3, 3)] * 2
    shared = importlib.import_module("toy_shared")
    assert shared.make("codec", 0).size == 9


WRAPPERS = {
    "in a closure": (
        "def wrap(f):\n    def scaled(x): return f(x) * {n}\n    return scaled\n"
        "toy_shared.scaled = wrap(toy_shared.scaled)"
    ),
    "in a global": "_f = toy_shared.scaled\ndef scaled(x): return _f(x) * {n}\ntoy_shared.scaled = scaled",
    "in a default": "def scaled(x, f=toy_shared.scaled): return f(x) * {n}\ntoy_shared.scaled = scaled",
}


@pytest.mark.usefixtures("_shared")
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_each_version_wraps_a_shared_function_for_itself_alone(versions: AddVersions, wrapper: str) -> None:
    source = f"import toy_shared\n{WRAPPERS[wrapper]}\ndef answer(): return toy_shared.scaled(1)"
    entries = versions({"toy_zoo/__init__.py": source})
    modules = [entry.import_module("toy_zoo") for entry in entries.values()]
    assert [module.answer() for module in (*modules, *modules)] == [1, 2, 3, 1, 2, 3]
    shared = importlib.import_module("toy_shared")
    assert shared.scaled(5) == 5
    for entry in entries.values():
        unload(entry.unit)
    assert shared.scaled.__qualname__ == "scaled"
    assert not hasattr(shared.scaled, "_mpt_contested")


@pytest.mark.usefixtures("_shared")
def test_each_version_wraps_a_method_of_a_shared_class_for_itself_alone(versions: AddVersions) -> None:
    source = """
import toy_shared
def wrap(f):
    def size(self): return f(self) + {n}
    return size
toy_shared.Registry.size = wrap(toy_shared.Registry.size)
def answer(): return toy_shared.registry.size()
"""
    entries = versions({"toy_zoo/__init__.py": source})
    modules = [entry.import_module("toy_zoo") for entry in entries.values()]
    assert [module.answer() for module in (*modules, *modules)] == [1, 2, 3, 1, 2, 3]
    assert importlib.import_module("toy_shared").registry.size() == 0


def test_hooks_that_ask_the_one_they_found_stand_side_by_side(
    versions: AddVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
from collections.abc import MutableMapping
class Own: pass
found = MutableMapping.__subclasshook__
@classmethod
def hook(cls, kind): return True if kind is Own else found(kind)
MutableMapping.__subclasshook__ = hook
def answer(): return {n} if issubclass(Own, MutableMapping) else 0
"""
    monkeypatch.setattr(MutableMapping, "__subclasshook__", MutableMapping.__subclasshook__)
    entries = versions({"toy_zoo/__init__.py": source})
    modules = [entry.import_module("toy_zoo") for entry in entries.values()]
    assert [module.answer() for module in (*modules, *modules)] == [1, 2, 3, 1, 2, 3]


@pytest.mark.usefixtures("_shared")
def test_the_same_content_from_every_version_is_no_conflict(versions: AddVersions) -> None:
    source = """
import toy_shared
from toy_zoo.consts import one
# {n} lines of this comment differ
def once(): return one + helper()
def helper(): return len(Helper().numbers)
class Helper:
    numbers = (1, 2)
toy_shared.register_once("toy", once)
toy_shared.Registry.toy = once
"""
    entries = versions({"toy_zoo/__init__.py": source, "toy_zoo/consts.py": "one = 1"})
    for entry in entries.values():
        assert entry.import_module("toy_zoo").toy_shared.once["toy"]() == 3
    shared = importlib.import_module("toy_shared")
    for entry in entries.values():  # what the last of them wrote goes last
        assert shared.once["toy"]() == 3
        unload(entry.unit)
    assert "toy" not in shared.once


@pytest.mark.usefixtures("_shared")
def test_equal_code_that_computes_with_another_constant_is_other_content(versions: AddVersions) -> None:
    source = """
import toy_shared
from toy_zoo.consts import c
toy_shared.register_once("toy", lambda: c)
def answer(): return toy_shared.once["toy"]()
"""
    entries = versions({"toy_zoo/__init__.py": source, "toy_zoo/consts.py": "c = {n}"})
    assert [entry.import_module("toy_zoo").answer() for entry in entries.values()] == [1, 2, 3]


@pytest.mark.usefixtures("_shared")
def test_a_refusal_that_old_code_catches_is_raised_all_the_same(versions: AddVersions) -> None:
    source = "import toy_shared\ntry:\n    toy_shared.toy_level = {n}\nexcept Exception:\n    pass"
    entries = versions({"toy_zoo/__init__.py": source})
    entries["1"].import_module("toy_zoo")
    with pytest.raises(RegistrationConflictError):
        entries["2"].import_module("toy_zoo")


@pytest.mark.usefixtures("_shared")
def test_changes_that_are_taken_back_bother_nobody(versions: AddVersions) -> None:
    source = """
import toy_shared
def run():
    found = toy_shared.scaled
    toy_shared.scaled = lambda x: {n}
    try:
        return toy_shared.scaled(0)
    finally:
        toy_shared.scaled = found
"""
    modules = [entry.import_module("toy_zoo") for entry in versions({"toy_zoo/__init__.py": source}).values()]
    assert [module.run() for module in (*modules, *modules)] == [1, 2, 3, 1, 2, 3]


@pytest.mark.usefixtures("_shared")
def test_a_replaced_attribute_is_told_as_an_effect_and_put_back_when_unloading(versions: AddVersions) -> None:
    entry = versions({"toy_zoo/__init__.py": "import toy_shared\ntoy_shared.size = lambda value: {n}"})["2"]
    entry.import_module("toy_zoo")
    shared = importlib.import_module("toy_shared")
    assert [effect.what for effect in entry.effects] == ["toy_shared.size"]
    assert shared.size(0) == 2
    unload(entry.unit)
    assert shared.size(0) == 0


def test_a_setting_made_while_the_program_runs_is_nobodys(versions: AddVersions) -> None:
    source = "import torch\ndef run(): torch.backends.toy_level = {n}"
    for entry in versions({"toy_zoo/__init__.py": source}).values():
        entry.import_module("toy_zoo").run()
    del importlib.import_module("torch").backends.toy_level
