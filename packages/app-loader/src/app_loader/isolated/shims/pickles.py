"""`pickle`, `cloudpickle` and `torch.load` as isolated code sees them: bytes that name the package mean this version.

Writing is left alone: what isolated code pickles carries isolated names, which any process with the store can import.
"""

from __future__ import annotations

import importlib
import io
import pickle
from typing import Any

from app_loader.isolated._unit import Unit


def pickle_overrides(unit: Unit) -> dict[str, Any]:
    """Return the readers of `pickle`."""

    class Unpickler(pickle.Unpickler):
        """A reader for which the unit's own names mean the unit's own classes."""

        def find_class(self, module_name: str, global_name: str, /) -> Any:
            return super().find_class(unit.isolated_name(module_name), global_name)

    def load(file: Any, **options: Any) -> Any:
        return Unpickler(file, **options).load()

    def loads(data: Any, /, **options: Any) -> Any:
        return Unpickler(io.BytesIO(data), **options).load()

    return {"Unpickler": Unpickler, "_Unpickler": Unpickler, "load": load, "loads": loads}


def cloudpickle_overrides(unit: Unit) -> dict[str, Any]:
    """Return the readers of `cloudpickle`, which are those of `pickle`."""

    def load(file: Any, **options: Any) -> Any:
        return importlib.import_module(unit.shim_name("pickle")).load(file, **options)

    def loads(data: Any, /, **options: Any) -> Any:
        return importlib.import_module(unit.shim_name("pickle")).loads(data, **options)

    return {"load": load, "loads": loads}


def torch_overrides(unit: Unit) -> dict[str, Any]:
    """Return `torch.load`: code that asks for whole objects gets those of its own version.

    Nothing is loosened here: where the code leaves `weights_only` alone, torch's own default holds.
    """

    def load(f: Any, map_location: Any = None, pickle_module: Any = None, **options: Any) -> Any:
        torch = importlib.import_module("torch")
        if pickle_module is None and options.get("weights_only") is False:
            pickle_module = importlib.import_module(unit.shim_name("pickle"))
        return torch.load(f, map_location, pickle_module, **options)

    return {"load": load}
