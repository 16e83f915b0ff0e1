"""What type a node has once an unpickler has made it, as a dotted name.

Told from names and shapes alone; nothing is imported or called.

Source: `torch/_weights_only_unpickler.py`, and NumPy's pickles of dtypes.
"""

from __future__ import annotations

__all__ = ["find_numpy_dtype_class", "result_type"]

from ._nodes import Call, DictNode, Global, Node, Persistent, SetNode

_REBUILDS = "torch._utils._rebuild_"
_NEWOBJ = 0x81


def result_type(node: Node) -> str:
    """The type that a node has after unpickling, as a dotted name; `dict`, `list` and the like for plain values."""
    if isinstance(node, Call):
        func = node.func
        if type(func) is not Global:
            return "an unknown object"
        name = func.full_name
        if node.op == _NEWOBJ:
            return _CONSTRUCTED.get(name, name)
        if name == "torch._tensor._rebuild_from_type_v2" and type(node.args) is tuple and len(node.args) > 1:
            kind = node.args[1]
            return _CONSTRUCTED.get(kind.full_name, kind.full_name) if type(kind) is Global else "Tensor"
        if name.startswith(_REBUILDS):
            return "Parameter" if "_parameter" in name else "Tensor"
        if name == "copyreg._reconstructor" and node.args and type(node.args[0]) is Global:
            return str(node.args[0].full_name)
        if name == "numpy.dtype":
            return find_numpy_dtype_class(node) or name
        return _CONSTRUCTED.get(name, name)
    if type(node) is DictNode:
        return "dict"
    if type(node) is SetNode:
        return "frozenset" if node.frozen else "set"
    if type(node) is Persistent:
        return "storage"
    return type(node).__name__


_CONSTRUCTED = {
    "collections.OrderedDict": "OrderedDict",
    "collections.Counter": "Counter",
    "torch.nn.parameter.Parameter": "Parameter",
    "torch.Tensor": "Tensor",
    "builtins.set": "set",
    "_codecs.encode": "bytes",
    "numpy.core.multiarray._reconstruct": "numpy.ndarray",
    "numpy._core.multiarray._reconstruct": "numpy.ndarray",
}
"""What calling these names gives, where it is not an instance of the name itself."""

_NUMPY_DTYPES = {
    "b1": "Bool", "i1": "Int8", "i2": "Int16", "i4": "Int32", "i8": "Int64", "u1": "UInt8", "u2": "UInt16",
    "u4": "UInt32", "u8": "UInt64", "f2": "Float16", "f4": "Float32", "f8": "Float64", "c8": "Complex64",
    "c16": "Complex128", "O8": "Object",
}  # fmt: skip


def find_numpy_dtype_class(node: Node) -> str | None:
    """The class `numpy.dtypes.XDType` that a pickled `numpy.dtype('f8')` becomes; it stands nowhere in the pickle."""
    if type(node.args) is not tuple or not node.args or type(node.args[0]) is not str:
        return None
    code = node.args[0].lstrip("<>|=")
    if code[:1] in "USV":
        return f"numpy.dtypes.{ {'U': 'Str', 'S': 'Bytes', 'V': 'Void'}[code[0]] }DType"
    if code[:1] in "Mm":
        return f"numpy.dtypes.{ {'M': 'DateTime64', 'm': 'TimeDelta64'}[code[0]] }DType"
    kind = _NUMPY_DTYPES.get(code)
    return f"numpy.dtypes.{kind}DType" if kind else None
