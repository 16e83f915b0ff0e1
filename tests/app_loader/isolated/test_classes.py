"""Classes whose machinery looks at module names: dataclasses, pydantic, enums, type hints, logging, origins."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import io
import logging
import pickle
import typing
from collections.abc import Callable

import pytest
import torch
from app_loader.store import Entry
from policy_interface import origin_of

AddVersions = Callable[..., dict[str, Entry]]

CLASSES = {
    "toy_zoo/__init__.py": "from toy_zoo.kinds import *",
    "toy_zoo/base.py": "class Base:\n    number = {n}",
    "toy_zoo/kinds.py": """
from __future__ import annotations

import dataclasses
import enum
import logging
import typing
from collections import namedtuple
from typing import Annotated, ClassVar, Literal, Union

import pydantic
import torch

import toy_zoo.base
from toy_zoo.base import Base

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Config:
    shared: ClassVar[int] = {n}
    base: toy_zoo.base.Base = dataclasses.field(default_factory=Base)
    only: dataclasses.InitVar[int] = 0


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = {n}


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"


class Zoo(pydantic.BaseModel):
    pets: list[Annotated[Union[Cat, Dog], pydantic.Field(discriminator="kind")]]
    next: Later | None = None


class Later(pydantic.BaseModel):
    number: int = {n}


class Color(enum.Enum):
    RED = {n}


Point = namedtuple("Point", "x y")


class Pair(typing.NamedTuple):
    left: int = {n}


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(self.layer.weight, {n})

    def forward(self, x):
        return self.layer(x)
""",
}


@pytest.fixture
def modules(versions: AddVersions) -> dict[str, typing.Any]:
    return {number: entry.import_module("toy_zoo.kinds") for number, entry in versions(CLASSES).items()}


def test_dataclasses_resolve_their_annotations_in_their_own_version(modules: dict[str, typing.Any]) -> None:
    for number, module in modules.items():
        assert [field.name for field in dataclasses.fields(module.Config)] == ["base"]
        assert typing.get_type_hints(module.Config)["base"] is module.Base
        assert module.Config().base.number == module.Config.shared == int(number)
        assert dataclasses.replace(module.Config(), base=None, only=1).base is None


def test_pydantic_models_resolve_forward_references_and_unions_in_their_own_version(
    modules: dict[str, typing.Any],
) -> None:
    for number, module in modules.items():
        zoo = module.Zoo.model_validate({"pets": [{"kind": "cat"}, {"kind": "dog"}], "next": {}})
        assert type(zoo.pets[0]) is module.Cat
        assert (zoo.pets[0].lives, zoo.next.number) == (int(number), int(number))


@pytest.mark.parametrize("made", ["Color.RED", "Point(1, 2)", "Pair()", "Zoo(pets=[])", "Config", "Net()"])
def test_values_survive_pickle_and_deepcopy_as_their_own_class(modules: dict[str, typing.Any], made: str) -> None:
    for module in modules.values():
        value = eval(made, vars(module))
        for again in (pickle.loads(pickle.dumps(value)), copy.deepcopy(value)):
            assert type(again) is type(value)
            assert isinstance(value, torch.nn.Module) or again == value


def test_weights_saved_by_one_version_load_with_weights_only(modules: dict[str, typing.Any]) -> None:
    for number, module in modules.items():
        buffer = io.BytesIO()
        torch.save(module.Net().state_dict(), buffer)
        buffer.seek(0)
        assert float(torch.load(buffer, weights_only=True)["layer.weight"].detach()) == int(number)


def test_source_code_is_found_for_an_isolated_class(modules: dict[str, typing.Any]) -> None:
    for number, module in modules.items():
        assert f"constant_(self.layer.weight, {number})" in inspect.getsource(module.Net)


def test_origin_names_the_original_module_the_version_and_the_digest(versions: AddVersions) -> None:
    for number, entry in versions(CLASSES).items():
        module = entry.import_module("toy_zoo.kinds")
        for subject in (module.Net, module.Net()):
            origin = origin_of(subject)
            assert str(origin) == f"toy_zoo.kinds.Net [toy-zoo {number}.0]"
            assert (origin.digest, origin.module, origin.qualname) == (entry.digest, "toy_zoo.kinds", "Net")
        assert origin_of(module.Net.forward).qualname == "Net.forward"
        assert origin_of(module).module == "toy_zoo.kinds"


def test_loggers_obey_the_logger_of_the_original_name(modules: dict[str, typing.Any]) -> None:
    records: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    original, handler = logging.getLogger("toy_zoo"), Kept()
    for name in ("app_loader", *(module.__name__.rpartition(".toy_zoo")[0] for module in modules.values())):
        logging.getLogger(name)  # made later than those below it, which logging would hang up anew
    original.addHandler(handler)
    original.setLevel(logging.ERROR)
    try:
        for module in modules.values():
            module.log.warning("quiet")
            module.log.error("loud")
    finally:
        original.removeHandler(handler)
        original.setLevel(logging.NOTSET)
    assert [record.getMessage() for record in records] == ["loud", "loud", "loud"]
    assert len({record.name for record in records}) == 3
