"""What to write instead of each kind of object, and whether allow-listing it would help, per torch version.

The second half is not a fixed sentence: it is asked of the rules of every torch version in the table, for the very
events that the object has in the file. So a hint never recommends `add_safe_globals` where a non-empty deque, a
defaultdict or a subclass of list would be refused all the same.
"""

from __future__ import annotations

__all__ = ["CONVERT_TO", "describe_allowlisting", "describe_versions", "name_alias", "needed_names"]

from collections.abc import Iterable

from ._judge import find_callee_name
from ._nodes import Call, Global, Node
from ._result_type import find_numpy_dtype_class
from ._stream import Event
from ._torch_rules import find_refusal, torch_name
from ._torch_table import Rules, load_rules

CONVERT_TO: dict[str, str] = {
    "datetime": "text: `value.isoformat()` with its zone, or the number `value.timestamp()`",
    "date": "text: `value.isoformat()`",
    "time": "text: `value.isoformat()`",
    "timedelta": "a number: `value.total_seconds()`",
    "timezone": "text: the zone's name, inside the ISO 8601 text of the datetime",
    "deque": "a list, `list(value)`, with its `maxlen` beside it",
    "defaultdict": "a dict, `dict(value)`",
    "OrderedDict": "a dict or a plain OrderedDict",
    "Counter": "a dict, `dict(value)`",
    "frozenset": "a sorted list",
    "set": "a sorted list",
    "enum": "text: its `.name` (or the number or text in `.value`)",
    "object": "a dict of its fields: `dataclasses.asdict(value)` or `vars(value)`",
    "namedtuple": "a dict, `value._asdict()`, or a plain tuple",
    "nn.Module": "`module.state_dict()`, and the arguments that build the module",
    "optimizer": "`optimizer.state_dict()`",
    "scheduler": "`scheduler.state_dict()`",
    "omegaconf": "`OmegaConf.to_container(value, resolve=True)`",
    "numpy array": "a tensor, `torch.from_numpy(value)`, or `value.tolist()` for a few numbers",
    "numpy scalar": "a Python number: `value.item()`",
    "numpy dtype": "text: `value.str`",
    "numpy type": "text: the type's name",
    "Path": "text: `str(value)`",
    "Decimal": "text: `str(value)`",
    "Fraction": "text: `str(value)`",
    "UUID": "text: `str(value)`",
    "Namespace": "a dict: `vars(value)`",
    "slice": "a list `[start, stop, step]`",
    "range": "a list `[start, stop, step]`",
    "ellipsis": "text",
    "iterator": "a list",
    "regex": "text: `value.pattern` and `value.flags`",
    "logger": "nothing: make loggers anew",
    "partial": "the function's name and its arguments",
    "function": "text: a name that your own code looks up",
    "bound method": "text: a name that your own code looks up",
    "class": "text: a name that your own code looks up",
    "table": "its columns: `frame.to_dict('list')`, or a file of its own beside the checkpoint",
    "torch value": "text: its name, read back with your own table",
    "generator": "its state tensor: `generator.get_state()`",
    "random state": "its state as numbers, or a fresh seed",
    "tensor": "a plain dense tensor",
    "tensor subclass": "a plain tensor: `value.as_subclass(torch.Tensor)`, or `value.full_tensor()` of a DTensor",
    "nested pickle": "tensors saved with `torch.save`, not with `pickle.dump`",
    "TorchScript class": "the weights: `module.state_dict()` of the loaded script module",
    "dict subclass": "a plain dict: `dict(value)`",
    "OrderedDict subclass": "a plain dict: `dict(value)`",
    "list subclass": "a plain list: `list(value)`",
    "str subclass": "plain text: `str(value)`",
    "int subclass": "a plain number: `int(value)`",
    "float subclass": "a plain number: `float(value)`",
    "bytes subclass": "plain bytes, or base64 text",
    "bytes": "base64 text, or save with protocol 2 (torch.save's default)",
    "bytearray": "a uint8 tensor, or base64 text",
    "integer": "text, or smaller numbers",
    "list": "a plain list",
    "dict": "a plain dict",
    "tuple": "a plain tuple",
    "str": "plain text",
    "int": "a plain number",
    "float": "a plain number",
    "bool": "a plain bool",
    "complex": "two numbers",
    "singleton": "None",
    "exception": "text: `repr(value)`",
    "code": "a name that your own code looks up: functions and lambdas have no place in a checkpoint",
}
"""Kind -> what to write into the checkpoint instead."""


def describe_versions(versions: list[str]) -> str:
    """`2.9 to 2.13 and 2.15`: versions that stand in a row in the table are named by the first and the last."""
    order = {version: at for at, version in enumerate(load_rules())}
    rows: list[list[str]] = []
    for version in versions:
        if rows and order[version] == order[rows[-1][-1]] + 1:
            rows[-1].append(version)
        else:
            rows.append([version])
    short = [[".".join(version.split(".")[:2]) for version in (row[0], row[-1])] for row in rows]
    return " and ".join(first if first == last else f"{first} to {last}" for first, last in short)


def needed_names(nodes: Iterable[Node]) -> list[str]:
    """Every name that `add_safe_globals` would need for these nodes, those that no pickle spells included."""
    names: dict[str, None] = {}
    for node in nodes:
        if type(node) is Global:
            names.setdefault(torch_name(node))
        elif isinstance(node, Call):
            name = find_callee_name(node.func)
            if name == "numpy.dtype":
                dtype_class = find_numpy_dtype_class(node)
                if dtype_class:
                    names.setdefault(dtype_class)
    return list(names)


def name_alias(name: str) -> str:
    """How a name is given to `add_safe_globals`: NumPy 1 module names need a pair with the alias that the file uses."""
    if name.startswith("numpy.core."):
        return f"(numpy._core.{name.removeprefix('numpy.core.')}, {name!r})"
    if name.startswith("exceptions."):
        return f"({name.removeprefix('exceptions.')}, {name!r})"
    return name.removeprefix("builtins.")


def describe_allowlisting(name: str, events: list[Event], extra: Iterable[str], rules: dict[str, Rules]) -> str:
    """Whether `add_safe_globals` with this name would let each torch version past these events."""
    names = list(dict.fromkeys([*extra] if _is_attribute(events) else [name, *extra]))
    refused: dict[str, list[str]] = {}
    helped: list[str] = []
    for version, facts in rules.items():
        refusal = find_refusal(events, facts, also_allowed=frozenset(names))
        if refusal is None:
            helped.append(version)
        else:
            refused.setdefault(refusal.reason, []).append(version)
    listed = ", ".join(name_alias(one) for one in names[:8])
    parts = []
    if helped and any(one.startswith("torch.distributed.tensor") for one in names):
        parts.append(
            f"in torch {describe_versions(helped)} `import torch.distributed.tensor` before loading lets it pass"
        )
    elif helped:
        parts.append(f"in torch {describe_versions(helped)} `add_safe_globals([{listed}])` lets it pass")
    for reason, versions in refused.items():
        parts.append(f"in torch {describe_versions(versions)} allow-listing does not help: {reason}")
    return "; ".join(parts)


def _is_attribute(events: list[Event]) -> bool:
    """Whether the name is what `getattr` gives, and so no name that the file imports."""
    return any(isinstance(event, Call) and find_callee_name(event.func) == "builtins.getattr" for event in events)
