"""`functional_datapipe` as isolated code sees it: a method name on data pipes means the version that is asking.

torch keeps the names in one table for the process and refuses a name that is taken. A name of a unit is kept aside, and
the table answers through a router, which asks the pipe: the nearest pipe upstream that belongs to a unit with this name
decides, then the calling code. A plain registration of the same name, before or after, keeps its place.
"""

from __future__ import annotations

import functools
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from app_loader.errors import IsolationError
from app_loader.isolated._names import PREFIX
from app_loader.isolated._unit import Unit

_lock = threading.Lock()


def overrides(unit: Unit) -> dict[str, Any]:
    """Return `functional_datapipe` for one unit."""

    class functional_datapipe:  # torch's own name
        def __init__(self, name: str, enable_df_api_tracing: bool = False) -> None:
            self.name = name
            self.enable_df_api_tracing = enable_df_api_tracing

        def __call__(self, cls: Any) -> Any:
            """Register a class of data pipes under the name."""
            datapipe = importlib.import_module("torch.utils.data.datapipes.datapipe")
            base = datapipe.IterDataPipe if issubclass(cls, datapipe.IterDataPipe) else datapipe.MapDataPipe
            _router(base, self.name).own[unit.prefix] = _maker(cls)
            return cls

    return {"functional_datapipe": functional_datapipe}


class Router:
    """What stands in torch's table for a name that isolated units registered.

    Attributes:
        own: the maker of each unit, by the unit's isolated package.
        plain: the maker that was registered in the ordinary way, if one was.
    """

    def __init__(self, name: str, plain: Callable[..., Any] | None) -> None:
        self.name = name
        self.own: dict[str, Callable[..., Any]] = {}
        self.plain = plain
        self.__doc__ = f"data pipe {name!r}, per version"

    def __call__(self, source: Any, *arguments: Any, **options: Any) -> Any:
        """Make the pipe of the version that is asking."""
        return self._choose(source)(source, *arguments, **options)

    def _choose(self, source: Any) -> Callable[..., Any]:
        for pipe in _upstream(source):
            maker = self.own.get(_package_of(type(pipe).__module__))
            if maker is not None:
                return maker
        frame = sys._getframe(2)
        caller: Any = frame
        while caller is not None:
            maker = self.own.get(_package_of(str(caller.f_globals.get("__name__", ""))))
            if maker is not None:
                return maker
            caller = caller.f_back
        if self.plain is not None:
            return self.plain
        if len(self.own) == 1:
            return next(iter(self.own.values()))
        raise IsolationError(
            f"data pipe method {self.name!r}",
            f"{len(self.own)} isolated versions have it, and neither the pipe nor its caller belongs to one of them",
            "the data pipe's class instead of its method",
        )


def _upstream(pipe: Any) -> Iterator[Any]:
    """Yield a pipe and what it reads from, nearest first."""
    pending, seen = [pipe], set()
    base = importlib.import_module("torch.utils.data.datapipes.datapipe")
    while pending:
        each = pending.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        for value in vars(each).values():
            values = value if isinstance(value, list | tuple) else (value,)
            pending.extend(v for v in values if isinstance(v, base.IterDataPipe | base.MapDataPipe))


def _package_of(module: str) -> str:
    if not module.startswith(PREFIX):
        return ""
    return PREFIX + module[len(PREFIX) :].partition(".")[0]


def _maker(cls: Any) -> Callable[..., Any]:
    def make(source: Any, *arguments: Any, **options: Any) -> Any:
        return cls(source, *arguments, **options)

    return functools.update_wrapper(make, cls, assigned=("__doc__",), updated=())


def _router(base: Any, name: str) -> Router:
    with _lock:
        _let_plain_names_in(base)
        found = base.functions.get(name)
        if isinstance(found, Router):
            return found
        router = Router(name, found)
        base.functions[name] = router
        return router


def _let_plain_names_in(base: Any) -> None:
    """Let torch's own registration fill a router's plain place instead of finding the name taken."""
    register = base.register_datapipe_as_function
    if getattr(register, "_mpt_routed", False):
        return
    original = register.__func__

    def register_datapipe_as_function(cls: Any, function_name: str, *arguments: Any, **options: Any) -> None:
        router = cls.functions.get(function_name)
        if not isinstance(router, Router) or router.plain is not None:
            original(cls, function_name, *arguments, **options)
            return
        del cls.functions[function_name]
        original(cls, function_name, *arguments, **options)
        router.plain = cls.functions[function_name]
        cls.functions[function_name] = router

    register_datapipe_as_function._mpt_routed = True  # type: ignore[attr-defined]
    base.register_datapipe_as_function = classmethod(register_datapipe_as_function)


def forget_routes(unit: Unit) -> None:
    """Take a unit's names out of torch's tables."""
    datapipe = sys.modules.get("torch.utils.data.datapipes.datapipe")
    if datapipe is None:
        return
    with _lock:
        for base in (datapipe.IterDataPipe, datapipe.MapDataPipe):
            for router in [each for each in base.functions.values() if isinstance(each, Router)]:
                router.own.pop(unit.prefix, None)
                if not router.own and base.functions.get(router.name) is router:
                    del base.functions[router.name]
                    if router.plain is not None:
                        base.functions[router.name] = router.plain
