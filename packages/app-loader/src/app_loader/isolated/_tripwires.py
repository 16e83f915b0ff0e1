"""What importing changed in the state that the whole process shares: noticed by a before/after diff, never guessed.

A library that is imported for the first time changes such state too (numpy adds warning filters); the diff says what
changed while the unit was imported, and that is all it says.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import multiprocessing
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from app_loader.isolated._announced import FOLDERS_VARIABLE, SEARCHED_VARIABLE, STORES_VARIABLE

Effects = Literal["report", "restore"]
_LOUD = ("default dtype", "default device", "start method", "grad mode", "working directory")
_ANNOUNCED = (STORES_VARIABLE, FOLDERS_VARIABLE, SEARCHED_VARIABLE)
"""What this package itself tells child processes."""
_log = logging.getLogger("app_loader.isolated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One change of shared state.

    Attributes:
        what: which state.
        before: its value before, as text.
        after: its value after, as text.
        restored: whether it was put back.
    """

    what: str
    before: str
    after: str
    restored: bool

    def __str__(self) -> str:
        return f"{self.what}: {self.before} -> {self.after}{' (restored)' if self.restored else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    what: str
    read: Callable[[], Any]
    restore: Callable[[Any], None] | None
    show: Callable[[Any, Any], tuple[str, str]] = lambda before, after: (repr(before)[:80], repr(after)[:80])


@contextlib.contextmanager
def watched(subject: str, effects: Effects) -> Iterator[list[Effect]]:
    """Watch the shared state during a block; the list is filled when the block ends, also when it raises.

    Args:
        subject: whose import it is, for the log.
        effects: ``report`` leaves changes as they are, ``restore`` puts back what can be put back.
    """
    probes = _probes()
    before = [probe.read() for probe in probes]
    found: list[Effect] = []
    try:
        yield found
    finally:
        for probe, was in zip(probes, before, strict=True):
            now = probe.read()
            if now == was:
                continue
            restored = effects == "restore" and probe.restore is not None
            if restored and probe.restore is not None:
                probe.restore(was)
            shown = probe.show(was, now)
            effect = Effect(what=probe.what, before=shown[0], after=shown[1], restored=restored)
            found.append(effect)
            _log.log(
                logging.WARNING if probe.what in _LOUD else logging.INFO, "importing %s changed %s", subject, effect
            )


def _probes() -> tuple[_Probe, ...]:
    """Return what can be asked now: a library that is not imported has no state yet."""
    probes: tuple[_Probe, ...] = _INTERPRETER
    if "numpy.random" in sys.modules:  # numpy imports it when it is first asked for
        probes += _numpy_probes(sys.modules["numpy"])
    if hasattr(sys.modules.get("torch"), "get_default_dtype"):
        probes += _torch_probes(sys.modules["torch"])
    return probes


@cache
def _numpy_probes(numpy: Any) -> tuple[_Probe, ...]:
    return (
        _Probe(
            what="random state of numpy",
            read=lambda: _numpy_state(numpy),
            restore=lambda was: _set_numpy_state(numpy, was),
            show=_show_nothing,
        ),
        _Probe(what="numpy error handling", read=numpy.geterr, restore=lambda was: numpy.seterr(**was)),
    )


@cache
def _torch_probes(torch: Any) -> tuple[_Probe, ...]:
    return (
        _Probe(what="default dtype", read=torch.get_default_dtype, restore=torch.set_default_dtype),
        _Probe(
            what="random state of torch",
            read=lambda: _torch_state(torch),
            restore=lambda was: torch.set_rng_state(torch.frombuffer(bytearray(was), dtype=torch.uint8)),
            show=_show_nothing,
        ),
        _Probe(what="grad mode", read=torch.is_grad_enabled, restore=torch.set_grad_enabled),
        _Probe(what="thread count", read=torch.get_num_threads, restore=torch.set_num_threads),
        _Probe(
            what="deterministic algorithms",
            read=torch.are_deterministic_algorithms_enabled,
            restore=torch.use_deterministic_algorithms,
        ),
        _Probe(
            what="float32 matmul precision",
            read=torch.get_float32_matmul_precision,
            restore=torch.set_float32_matmul_precision,
        ),
    )


def _torch_state(torch: Any) -> bytes:
    state = torch.get_rng_state()
    return ctypes.string_at(state.data_ptr(), state.nbytes)  # `numpy()` would set up a bridge first, for 0.1 ms


def _numpy_state(numpy: Any) -> tuple[Any, Any]:
    """Return the generator that `numpy.random.rand` and the like draw from, and its state as values that compare."""
    return numpy.random.get_bit_generator(), _frozen(numpy.random.get_state(legacy=False))


def _set_numpy_state(numpy: Any, was: tuple[Any, Any]) -> None:
    generator, state = was
    if numpy.random.get_bit_generator() is not generator:
        numpy.random.set_bit_generator(generator)
    numpy.random.set_state(_thawed(numpy, state))


def _frozen(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: _frozen(value) for name, value in state.items()}
    # two arrays do not compare to one answer
    return (state.dtype.str, state.tobytes()) if hasattr(state, "tobytes") else state


def _thawed(numpy: Any, state: Any) -> Any:
    if isinstance(state, dict):
        return {name: _thawed(numpy, value) for name, value in state.items()}
    return numpy.frombuffer(state[1], dtype=state[0]) if isinstance(state, tuple) else state


def _environ() -> dict[str | bytes, str | bytes]:
    # As the system spells it: `dict(os.environ)` would decode every name and value, each time.
    found: dict[str | bytes, str | bytes] = dict(vars(os.environ).get("_data", os.environ))
    for name in _ANNOUNCED:
        found.pop(os.fsencode(name) if os.name == "posix" else name, None)
    return found


def _set_environ(was: dict[str | bytes, str | bytes]) -> None:
    variables = {os.fsdecode(name): os.fsdecode(value) for name, value in was.items()}
    for name in set(os.environ) - set(variables) - set(_ANNOUNCED):
        del os.environ[name]
    os.environ.update(variables)


def _set_filters(was: list[Any]) -> None:
    warnings.filters[:] = was  # type: ignore[index]
    mutated = getattr(warnings, "_filters_mutated", None)  # the registry of seen warnings depends on the filters
    if mutated is not None:
        mutated()


def _set_root_logger(was: tuple[int, list[logging.Handler]]) -> None:
    logging.root.setLevel(was[0])
    logging.root.handlers[:] = was[1]


def _show_keys(before: dict[str | bytes, Any], after: dict[str | bytes, Any]) -> tuple[str, str]:
    names = before.keys() | after.keys()
    changed = sorted(os.fsdecode(name) for name in names if before.get(name) != after.get(name))
    return "as it was", f"changed {', '.join(changed)}"  # names only: values may be secrets


def _show_counts(before: list[Any], after: list[Any]) -> tuple[str, str]:
    return f"{len(before)} entries", f"{len(after)} entries"


def _show_nothing(before: object, after: object) -> tuple[str, str]:
    return "as it was", "advanced"


_INTERPRETER = (
    _Probe(what="environment variables", read=_environ, restore=_set_environ, show=_show_keys),
    _Probe(what="warning filters", read=lambda: list(warnings.filters), restore=_set_filters, show=_show_counts),
    _Probe(
        what="root logger", read=lambda: (logging.root.level, list(logging.root.handlers)), restore=_set_root_logger
    ),
    _Probe(
        what="start method",
        read=lambda: multiprocessing.get_start_method(allow_none=True),
        restore=lambda was: multiprocessing.set_start_method(was, force=True),
    ),
    _Probe(what="random state of random", read=random.getstate, restore=random.setstate, show=_show_nothing),
    _Probe(what="sys.path", read=lambda: list(sys.path), restore=lambda was: sys.path.__setitem__(slice(None), was)),
    _Probe(what="sys.meta_path", read=lambda: list(sys.meta_path), restore=None, show=_show_counts),
    _Probe(what="recursion limit", read=sys.getrecursionlimit, restore=sys.setrecursionlimit),
    _Probe(what="working directory", read=os.getcwd, restore=os.chdir),
    _Probe(what="sys.excepthook", read=lambda: sys.excepthook, restore=lambda was: setattr(sys, "excepthook", was)),
)
