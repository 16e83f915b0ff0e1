"""`MPT_CLASS_REPR=1`: the `repr` of an isolated class says its version, and nothing else about the class changes."""

from __future__ import annotations

import abc
import copy
import enum
import pickle
import typing
from collections.abc import Callable

import pytest
import torch
from app_loader.isolated._class_repr import CLASS_REPR_VARIABLE
from app_loader.store import Entry
from torch import nn

AddVersions = Callable[..., dict[str, Entry]]
FILES = {
    "toy_zoo/__init__.py": "",
    "toy_zoo/layers.py": """
import abc
import enum
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from torch import nn

T = TypeVar("T")


class Lin(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.inner = nn.Linear(width, width)

    def forward(self, x):
        from toy_zoo import layers
        return self.inner(x) * 0 + {n} if isinstance(self, layers.Lin) else None


class Outer(Lin):
    class Inner:
        pass


class Registered(type):
    known = []

    def __init__(cls, name, bases, namespace):
        super().__init__(name, bases, namespace)
        Registered.known.append(name)


class Plain:
    answer = {n}


class Both(Plain, metaclass=Registered):
    pass


class Shaped(abc.ABC):
    @abc.abstractmethod
    def shape(self): ...


class ShapedLin(Lin, Shaped):
    def shape(self):
        return {n}


class Calling(abc.ABCMeta):
    def __call__(cls, *arguments):
        return super().__call__(*arguments)


class Called(Shaped, metaclass=Calling):
    def shape(self):
        return {n}


class Said(Protocol):
    answer: int


class Speaker(Plain, Said):
    pass


class Box(Generic[T]):
    pass


class Colour(Plain, enum.Enum):
    RED = {n}


class Pair(NamedTuple):
    one: int


@dataclass
class Data:
    one: int = {n}


def make():
    class Local(Plain):
        pass

    return Local


def call(metaclass):
    return metaclass
""",
}


@pytest.fixture
def modules(versions: AddVersions, monkeypatch: pytest.MonkeyPatch) -> dict[str, typing.Any]:
    monkeypatch.setenv(CLASS_REPR_VARIABLE, "1")
    return {number: entry.import_module("toy_zoo.layers") for number, entry in versions(FILES).items()}


def test_the_repr_of_every_kind_of_class_says_module_and_version(modules: dict[str, typing.Any]) -> None:
    for number, module in modules.items():
        shown = {
            module.Lin: "Lin",
            module.Outer: "Outer",
            module.Outer.Inner: "Outer.Inner",
            module.Plain: "Plain",
            module.Both: "Both",
            module.Shaped: "Shaped",
            module.ShapedLin: "ShapedLin",
            module.Called: "Called",
            module.Said: "Said",
            module.Speaker: "Speaker",
            module.Box: "Box",
            module.Data: "Data",
            module.make(): "make.<locals>.Local",
        }
        for kind, name in shown.items():
            assert repr(kind) == f"<class toy_zoo.layers.{name} [toy-zoo {number}.0]>"


def test_classes_are_what_they_are_without_it(modules: dict[str, typing.Any]) -> None:
    for number, module in modules.items():
        answer = int(number)
        assert isinstance(module.Both, module.Registered)
        assert module.Registered.known == ["Both"]
        assert repr(module.Colour) == "<enum 'Colour'>"  # its metaclass has a repr of its own
        assert module.Colour.RED.value == answer
        assert module.Colour(answer) is module.Colour.RED
        assert isinstance(module.Colour, enum.EnumMeta)
        assert module.ShapedLin().shape() == module.Called().shape() == answer
        assert isinstance(module.Called, module.Calling)
        with pytest.raises(TypeError):
            module.Shaped()
        assert module.Box[int].__origin__ is module.Box
        assert module.Pair(3).one == 3
        assert module.Data() == module.Data(answer)
        assert pickle.loads(pickle.dumps(module.Lin)) is module.Lin
        assert type(copy.deepcopy(module.Lin())) is module.Lin


def test_modules_compute_and_compile_as_before(modules: dict[str, typing.Any]) -> None:
    for number, module in modules.items():
        net = module.Lin()
        expected = torch.full((2, 3), float(number))
        assert torch.equal(net(torch.ones(2, 3)), expected)
        assert torch.equal(torch.compile(net, backend="eager", fullgraph=True)(torch.ones(2, 3)), expected)


def test_an_application_may_derive_from_such_a_class(modules: dict[str, typing.Any]) -> None:
    class Mine(modules["1"].Lin):  # type: ignore[misc]
        pass

    assert repr(Mine) == f"<class '{__name__}.{Mine.__qualname__}'>"
    assert isinstance(Mine(), nn.Module)


def test_a_mix_with_another_metaclass_is_refused_by_python(modules: dict[str, typing.Any]) -> None:
    """The price, and the reason why this is not the default."""
    with pytest.raises(TypeError):
        type("Mine", (modules["1"].Plain, abc.ABC), {})


@pytest.mark.parametrize("value", [None, "", "0"])
def test_classes_are_pythons_own_where_nobody_asks(
    versions: AddVersions, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is None:
        monkeypatch.delenv(CLASS_REPR_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(CLASS_REPR_VARIABLE, value)
    module: typing.Any = next(iter(versions(FILES).values())).import_module("toy_zoo.layers")
    assert type(module.Lin) is type
    assert type(module.ShapedLin) is abc.ABCMeta
