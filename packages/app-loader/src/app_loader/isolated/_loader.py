"""Loading one module of a unit: read, check against RECORD, rewrite, compile, keep the bytecode, run.

The bytecode lies in the store's own cache, never in the `__pycache__` that a plain import of the same files would use,
and is keyed by the unit's digest (its folder), the rewriter's version and the interpreter's tag.
"""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

from policy_interface.origin import ORIGIN_ATTRIBUTE

from app_loader.errors import IntegrityError
from app_loader.isolated._helpers import own_helpers
from app_loader.isolated._targets import REWRITER_VERSION
from app_loader.isolated._unit import Unit

TAG = f"{sys.implementation.cache_tag}-{sys.flags.optimize}-r{REWRITER_VERSION}"
_HEADER_BYTES = len(importlib.util.MAGIC_NUMBER) + 16


class IsolatedLoader(SourceFileLoader):
    """Loads a module of a unit from its source file."""

    def __init__(self, fullname: str, path: str, unit: Unit) -> None:
        super().__init__(fullname, path)
        self.unit = unit

    def get_code(self, fullname: str) -> CodeType:
        """Return the module's compiled code, from the cache where its source has not changed."""
        path = self.get_filename(fullname)
        try:
            status = os.stat(path)  # noqa: PTH116  # once per module: Path would double the cost
        except FileNotFoundError:
            self._check(path, None)
            raise
        stamp = status.st_mtime_ns.to_bytes(8, "little", signed=True) + status.st_size.to_bytes(8, "little")
        header = importlib.util.MAGIC_NUMBER + stamp
        cached = self.cached(path)
        if cached is not None:
            try:
                with open(cached, "rb") as file:  # noqa: PTH123
                    data = file.read()
            except OSError:
                data = b""
            if data[:_HEADER_BYTES] == header:
                code = _read_code(data)
                if code is not None and code.co_filename == path:  # a store that was moved compiles anew
                    self.unit.supply_helpers(data)
                    return code
        source = self.get_data(path)
        self._check(path, source)
        code = self.source_to_code(source, path)
        data = header + marshal.dumps(code)
        if cached is not None and not sys.dont_write_bytecode:
            _write_atomically(cached, data)
        self.unit.supply_helpers(data)
        return code

    def source_to_code(  # type: ignore[override]  # SourceFileLoader has this signature, typeshed its base's
        self, data: Any, path: Any = "<string>", *, _optimize: int = -1
    ) -> CodeType:
        """Compile source after rewriting it."""
        tree = self.unit.rewriter.rewrite(data, path) if isinstance(data, bytes) else None
        code: CodeType = compile(data if tree is None else tree, path, "exec", dont_inherit=True, optimize=_optimize)
        return code if tree is None else own_helpers(code, self.unit.identifier)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make the module with the unit's own builtins, whose `__import__` is the net below the rewriting."""
        module = ModuleType(spec.name)
        vars(module)["__builtins__"] = self.unit.builtins
        return module

    def cached(self, path: str) -> str | None:
        """Return where the compiled code of a source file of the unit is kept, None where it is not."""
        if self.unit.bytecode is None:
            return None
        folder = str(self.unit.folder)
        if not path.startswith(folder):
            return None
        return f"{self.unit.bytecode}{os.sep}{TAG}{path[len(folder) :]}c"

    def _check(self, path: str, source: bytes | None) -> None:
        """Check source that is about to be compiled, None where it is missing, against what RECORD pins."""
        hashes = self.unit.hashes
        if not hashes:
            return
        folder = f"{self.unit.folder}{os.sep}"
        if not path.startswith(folder):
            return  # a file that the unit's code wrote elsewhere and loads itself
        relative = path[len(folder) :].replace(os.sep, "/")
        found = hashlib.sha256(source).hexdigest() if source is not None else None
        expected = hashes.get(relative)
        if found != expected:
            subject = f"{self.unit.distribution} {self.unit.version}"
            present = f"has sha256 {found}" if found else "is missing"
            raise IntegrityError(
                subject,
                [f"{relative} {present}, RECORD pins {expected or 'no such file'}"],
                f"mpt zoo verify {subject.split()[0]}",
            )


def loader_class(unit: Unit) -> Callable[[str, str], IsolatedLoader]:
    """Return the class of a unit's loaders, which is also what its code sees as `SourceFileLoader`.

    One class for both: old code asks by the class of a module's loader what can be done with it.
    """
    if unit.loader is None:

        class SourceLoader(IsolatedLoader):
            def __init__(self, fullname: str, path: str) -> None:
                super().__init__(unit.dynamic_name(fullname), str(path), unit)

        SourceLoader.__name__ = SourceLoader.__qualname__ = "SourceFileLoader"
        unit.loader = SourceLoader
    made: Callable[[str, str], IsolatedLoader] = unit.loader
    return made


def isolate_spec(spec: ModuleSpec, unit: Unit) -> ModuleSpec:
    """Give a module that was found on disk the unit's loader and its origin."""
    assert spec.origin is not None
    loader = loader_class(unit)(spec.name, spec.origin)
    spec.loader = loader
    spec.cached = loader.cached(spec.origin)
    # On the spec, not in the module: a module's own names stay exactly those that its source makes.
    setattr(spec, ORIGIN_ATTRIBUTE, unit.origin(spec.name))
    return spec


def _read_code(data: bytes) -> CodeType | None:
    """Return the code that a file of bytecode holds, None where a power failure left only a part of it."""
    try:
        code: CodeType = marshal.loads(memoryview(data)[_HEADER_BYTES:])
    except (EOFError, TypeError, ValueError):
        return None
    return code


def _write_atomically(path: str, data: bytes) -> None:
    temporary = f"{path}.{os.getpid()}.{id(data)}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        with open(temporary, "wb") as file:  # noqa: PTH123
            file.write(data)
        os.replace(temporary, path)  # noqa: PTH105
    except OSError:
        return  # a cache that cannot be written costs time, nothing else
