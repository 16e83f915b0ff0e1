"""Names that belong to an object beside its own: what allow-listing it needs as well, and which globals calls use.

Looks two calls deep, as far as any writer nests them; nothing is imported.
"""

from __future__ import annotations

__all__ = ["find_further_names", "find_used_globals"]

from collections.abc import Iterator

from ._judge import find_callee_name
from ._nodes import Call, Global, find_class
from ._result_type import find_numpy_dtype_class
from ._stream import Event
from ._tensors import find_tensor

_CLASS_FIRST = frozenset({"copyreg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__"})


def find_used_globals(log: list[Event]) -> set[int]:
    """Ids of the globals that some call uses as its callee or class: there, the call is the finding."""
    used = set()
    for event in log:
        if isinstance(event, Call):
            used.add(id(event.func))
            if find_callee_name(event.func) in _CLASS_FIRST and type(event.args) is tuple and event.args:
                used.add(id(find_class(event.args[0])))
            used.add(id(find_class(event.func)))
    return used


def find_further_names(node: Call) -> Iterator[str]:
    """Further names that allow-listing an object needs: its class, its dtype, what its arguments import."""
    args = node.args if type(node.args) is tuple else ()
    for part in (*args, *(node.states or ())):
        inner = part if type(part) is tuple else (part,)
        for one in inner:
            if type(one) is Global:
                yield one.full_name
            elif isinstance(one, Call) and type(one.func) is Global and find_tensor(one) is None:
                yield one.func.full_name
                if one.func.full_name == "numpy.dtype":
                    dtype_class = find_numpy_dtype_class(one)
                    if dtype_class:
                        yield dtype_class
                elif type(one.args) is tuple:
                    for deeper in one.args:
                        if isinstance(deeper, Call) and type(deeper.func) is Global:
                            yield deeper.func.full_name
    if find_callee_name(node.func) == "numpy.dtype":
        dtype_class = find_numpy_dtype_class(node)
        if dtype_class:
            yield dtype_class
