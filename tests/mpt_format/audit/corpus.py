"""Several hundred checkpoints of known content: every kind of value, every protocol, every container.

Each case keeps the object that was saved, so that a test can compare paths with the truth. Values that a protocol
cannot write are left out of the corpus, not skipped in a test.
"""

from __future__ import annotations

import argparse
import collections
import datetime as dt
import decimal
import enum
import fractions
import functools
import io
import pathlib
import pickle
import traceback
import types
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn


class Stage(enum.Enum):
    """A plain Enum."""

    DORMANT = 1
    TRAINING = 2


class Colour(enum.StrEnum):
    """An Enum of text."""

    RED = "red"


class Level(enum.IntEnum):
    """An Enum of numbers."""

    LOW = 3


@dataclass
class Metrics:
    """A plain dataclass."""

    accuracy: float = 0.5
    history: list[float] = field(default_factory=lambda: [0.1, 0.2])


@dataclass(slots=True)
class SlottedState:
    """A dataclass with slots, an Enum, a time and a bounded deque."""

    stage: Stage = Stage.TRAINING
    entered_at: dt.datetime = field(default_factory=lambda: dt.datetime(2025, 12, 16, 4, 0, tzinfo=dt.UTC))
    history: collections.deque[Any] = field(default_factory=lambda: collections.deque([1, 2], maxlen=10))


class Point(NamedTuple):
    """A namedtuple."""

    x: int
    y: int


class AttributeDict(dict[str, Any]):
    """A subclass of dict."""


class OrderedConfig(collections.OrderedDict[str, Any]):
    """A subclass of OrderedDict."""


class History(list[int]):
    """A subclass of list."""


class Label(str):
    """A subclass of str."""

    __slots__ = ()


class Count(int):
    """A subclass of int."""


class Node:
    """An object that refers to itself."""

    def __init__(self) -> None:
        self.me = self
        self.value = 1


class Net(nn.Module):
    """A small module tree."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        self.register_buffer("mean", torch.zeros(3))


def schedule(progress: float) -> float:
    """A function that is saved by reference."""
    return progress


def _tied() -> dict[str, torch.Tensor]:
    weight = torch.arange(12.0).reshape(3, 4)
    return {"a": weight, "b": weight, "row": weight[1], "transposed": weight.t()}


def _cyclic_list() -> list[Any]:
    made: list[Any] = [1]
    made.append(made)
    return made


def _cyclic_dict() -> dict[str, Any]:
    made: dict[str, Any] = {"a": 1}
    made["self"] = {"again": made}
    return made


def _deep(depth: int) -> list[Any]:
    made: list[Any] = [1]
    for _ in range(depth):
        made = [made]
    return made


def _with_note() -> ValueError:
    made = ValueError("bad")
    made.add_note("seen twice")
    return made


def _optimizer_state(name: str) -> dict[str, Any]:
    net = Net()
    optimizer = getattr(torch.optim, name)(net.parameters(), lr=1e-3)
    net.body(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    return {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}


def _scheduler_state() -> dict[str, Any]:
    optimizer = torch.optim.SGD(Net().parameters(), lr=0.1)
    return {"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 3).state_dict()}


def _morphogenetic() -> dict[str, Any]:
    state = nn.Sequential(nn.Linear(2, 2)).state_dict()
    state["seed._extra_state"] = {"state": SlottedState(), "metrics": Metrics()}
    return {"model_state_dict": state, "config": {"lr": 1e-3, "path": pathlib.PurePosixPath("/runs/1")}}


VALUES: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "primitives": lambda: {"i": 1, "f": 0.5, "b": True, "s": "text", "n": None, "neg": -70000, "u": "\u00e4\u4e2d"},
    "keys": lambda: {1: "int", "1": "str", 1.5: "float", (1, "a"): "tuple", None: "none", True + 1: "two"},
    "nested": lambda: {"a": [1, (2, {"b": [3]})], "c": ()},
    "long ints": lambda: {"a": 2**40, "b": -(2**70), "c": 2**31},
    "very long int": lambda: {"a": 2**3000},
    "bytes": lambda: {"raw": b"\x00\x01\xff" * 10, "empty": b""},
    "long bytes": lambda: {"raw": bytes(range(256)) * 4},
    "bytearray": lambda: {"raw": bytearray(b"abc")},
    "complex": lambda: {"z": 1 + 2j},
    "set": lambda: {"s": {1, 2, 3}},
    "empty set": lambda: {"s": set()},
    "frozenset": lambda: {"s": frozenset({1, 2})},
    "slice": lambda: {"s": slice(1, 10, 2)},
    "range": lambda: {"r": range(1, 10, 2)},
    "ellipsis": lambda: {"e": ...},
    "datetime": lambda: {"at": dt.datetime(2025, 1, 2, 3, 4, 5)},
    "aware datetime": lambda: {"at": dt.datetime(2025, 1, 2, tzinfo=dt.UTC)},
    "date": lambda: {"day": dt.date(2025, 1, 2)},
    "time": lambda: {"at": dt.time(1, 2, 3)},
    "timedelta": lambda: {"for": dt.timedelta(seconds=90)},
    "timezone": lambda: {"zone": dt.timezone(dt.timedelta(hours=11))},
    "deque": lambda: {"d": collections.deque([1, 2, 3], maxlen=5)},
    "empty deque": lambda: {"d": collections.deque(maxlen=5)},
    "unbounded deque": lambda: {"d": collections.deque([1])},
    "defaultdict": lambda: {"d": collections.defaultdict(list, {"a": [1]})},
    "empty defaultdict": lambda: {"d": collections.defaultdict(int)},
    "counter": lambda: {"c": collections.Counter("abca")},
    "ordered dict": lambda: {"o": collections.OrderedDict([("b", 1), ("a", 2)])},
    "ordered dict subclass": lambda: {"o": OrderedConfig([("b", 1)])},
    "dict subclass": lambda: {"d": AttributeDict(a=1)},
    "list subclass": lambda: {"l": History([1, 2])},
    "str subclass": lambda: {"s": Label("x")},
    "int subclass": lambda: {"i": Count(3)},
    "enum": lambda: {"stage": Stage.TRAINING, "again": [Stage.TRAINING]},
    "str enum": lambda: {"colour": Colour.RED},
    "int enum": lambda: {"level": Level.LOW},
    "dataclass": lambda: {"m": Metrics()},
    "slotted dataclass": lambda: {"m": SlottedState()},
    "namedtuple": lambda: {"p": Point(1, 2)},
    "self reference": lambda: {"n": Node()},
    "namespace": lambda: {"args": argparse.Namespace(lr=0.1, name="run")},
    "simple namespace": lambda: {"args": types.SimpleNamespace(lr=0.1)},
    "path": lambda: {"p": pathlib.PurePosixPath("/a/b")},
    "decimal": lambda: {"d": decimal.Decimal("1.5")},
    "fraction": lambda: {"f": fractions.Fraction(1, 3)},
    "uuid": lambda: {"u": uuid.UUID(int=5)},
    "function": lambda: {"f": schedule},
    "builtin": lambda: {"f": len, "t": int},
    "class": lambda: {"c": Net},
    "partial": lambda: {"p": functools.partial(schedule, 0.5)},
    "exception": lambda: {"e": ValueError("bad")},
    "exceptions of every build": lambda: {
        "group": ExceptionGroup("several", [ValueError(1), OSError(2, "no", "file")]),
        "text": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        "line": SyntaxError("bad", ("file", 1, 2, "text")),
    },
    "exception with attributes": lambda: {"e": _with_note(), "i": ImportError("bad", name="module")},
    "stack summary": lambda: {"at": traceback.StackSummary.from_list([("file", 1, "function", "text")])},
    "numpy array": lambda: {"a": np.arange(6, dtype=np.float32).reshape(2, 3)},
    "numpy int array": lambda: {"a": np.arange(3), "b": [np.zeros(2, dtype=bool)]},
    "numpy object array": lambda: {"a": np.array([1, "a", None], dtype=object)},
    "numpy text array": lambda: {"a": np.array(["a", "bc"])},
    "numpy scalar": lambda: {"x": np.float64(1.5), "y": np.int64(3)},
    "numpy dtype": lambda: {"t": np.dtype("float32")},
    "numpy type": lambda: {"t": np.float32},
    "tensor": lambda: {"t": torch.arange(6.0).reshape(2, 3)},
    "root tensor": lambda: torch.arange(3),
    "empty tensor": lambda: {"t": torch.empty(0), "s": torch.tensor(1.5)},
    "tied tensors": _tied,
    "many dtypes": lambda: {
        str(d): torch.zeros(3, dtype=d)
        for d in (
            torch.float16,
            torch.bfloat16,
            torch.float64,
            torch.int8,
            torch.uint8,
            torch.int16,
            torch.bool,
            torch.complex64,
            torch.uint16,
            torch.uint32,
            torch.float8_e4m3fn,
        )
    },
    "parameter": lambda: {"p": nn.Parameter(torch.ones(2))},
    "requires grad": lambda: {"t": torch.ones(2, requires_grad=True)},
    "tensor attribute": lambda: {"t": _with_attribute()},
    "sparse": lambda: {"t": torch.eye(3).to_sparse()},
    "sparse csr": lambda: {"t": torch.eye(3).to_sparse_csr()},
    "quantized": lambda: {"t": torch.quantize_per_tensor(torch.arange(4.0), 0.1, 2, torch.quint8)},
    "meta tensor": lambda: {"t": torch.empty(3, device="meta")},
    "conjugate": lambda: {"t": torch.ones(2, dtype=torch.complex64).conj()},
    "storage": lambda: {"s": torch.arange(3.0).untyped_storage()},
    "torch dtype": lambda: {"d": torch.float32, "e": torch.bfloat16},
    "torch device": lambda: {"d": torch.device("cpu"), "c": torch.device("cuda", 1)},
    "torch size": lambda: {"s": torch.Size([1, 2])},
    "torch layout": lambda: {"l": torch.strided, "m": torch.sparse_coo},
    "memory format": lambda: {"m": torch.channels_last},
    "generator state": lambda: {"rng": torch.get_rng_state()},
    "state dict": lambda: Net().state_dict(),
    "module": Net,
    "module in dict": lambda: {"model": nn.Linear(2, 2), "epoch": 1},
    "adam": lambda: _optimizer_state("Adam"),
    "sgd": lambda: _optimizer_state("SGD"),
    "scheduler": _scheduler_state,
    "morphogenetic": _morphogenetic,
    "cyclic list": _cyclic_list,
    "cyclic dict": _cyclic_dict,
    "deep": lambda: _deep(200),
    "shared": lambda: (lambda x: {"a": x, "b": x, "c": [x, x]})({"k": [1, 2]}),
    "many": lambda: {f"key{i}": [i, str(i)] for i in range(300)},
    "mixed": lambda: {"ok": torch.ones(2), "bad": [Stage.DORMANT, {"at": dt.datetime(2025, 1, 1)}], "fine": {"x": 1}},
}
"""Name -> a function that makes the object to save."""


def _with_attribute() -> torch.Tensor:
    made = torch.ones(2)
    made.tag = "important"  # type: ignore[attr-defined]
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One checkpoint: how it was made, its bytes, and the object that was saved."""

    name: str
    container: str
    protocol: int
    data: bytes
    value: Any


def generate_cases() -> Iterator[Case]:
    """Every value in every container and protocol that can write it, always in the same order."""
    for name, make in VALUES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls some of its own types deprecated or in beta
            value = make()
        for container in ("zip", "legacy", "pickle"):
            for protocol in range(6):
                data = _save(value, container, protocol)
                if data is not None:
                    yield Case(
                        name=f"{name}, {container}, protocol {protocol}",
                        container=container,
                        protocol=protocol,
                        data=data,
                        value=value,
                    )


@functools.cache
def all_cases() -> tuple[Case, ...]:
    """The corpus, made once in a process."""
    return tuple(generate_cases())


def _save(value: Any, container: str, protocol: int) -> bytes | None:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if container == "pickle":
                pickle.dump(value, stream, protocol=protocol)
            else:
                zipped = container == "zip"
                torch.save(value, stream, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        except Exception:  # what a protocol cannot write is no case
            return None
    return stream.getvalue()
