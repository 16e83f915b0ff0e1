"""The state dict inside a foreign checkpoint: found, named, and its tensors located in the file.

One place knows the shapes that tools write: a bare state dict, a dict that holds one, whole pickled modules and
TorchScript objects (flattened along their attributes), stable-baselines3 zips, safetensors and the archives made of it.
Where two state dicts stand side by side it does not choose: it names them and asks.
"""

from __future__ import annotations

__all__ = ["Source", "SourceTensor", "find_state", "resolve_path", "search_states"]

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from mpt_format.audit._container import Container
from mpt_format.audit._container_findings import refused_container_finding
from mpt_format.audit._nodes import Call, DictNode, Node, SetNode
from mpt_format.audit._structure import describe_node, key_value_pairs
from mpt_format.audit._tensors import TensorRecord, find_tensor
from mpt_format.audit._walk import format_key, format_step, state_attributes
from mpt_format.errors import ConversionError

from ._arrays import Array, read_array
from ._compound_tensors import Compound, find_compound
from ._optimizer import is_optimizer

_MAX_SEARCHED = 200_000
_MAX_DEPTH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTensor:
    """One entry of the state dict that is a tensor: its key, its path, and its record or array."""

    key: str
    path: str
    record: TensorRecord | None = None
    array: Array | None = None


@dataclass(slots=True, kw_only=True)
class Source:
    """A state dict in the source: tensors, other entries, module versions."""

    path: str
    tensors: list[SourceTensor] = field(default_factory=list)
    others: list[tuple[str, str, Node]] = field(default_factory=list)
    """Key, path and node of entries that are no tensors (extra state)."""
    versions: dict[str, int] = field(default_factory=dict)
    """Module prefix -> torch's `_version`."""
    compounds: list[tuple[str, Compound]] = field(default_factory=list)
    """Key and what it holds, of entries that are kept as the tensors they are made of."""
    parts: list[str] = field(default_factory=list)
    """Paths of the state dicts that it was put together from; empty for a single one."""


def find_state(container: Container, state_path: str | None) -> tuple[Source, Node | None]:
    """The state dict of a container, and the root object where there is one.

    Raises:
        ConversionError: There is none, or several and no `state_path` says which.
    """
    root = container.get_root()
    if root is None or not root.stream.complete:
        advice = refused_container_finding(container).hint if container.torch_refusal else container.description
        raise ConversionError(f"the file holds no object to convert: {advice}")
    node = root.stream.root
    if state_path is not None:
        try:
            found = resolve_path(node, state_path)
        except ConversionError as error:
            raise ConversionError(f"{error}{_suggest(node)}") from error
        source = _read_bare(found, state_path) or read_state(found, state_path) or _join_states(found, state_path)
        if source is None:
            raise ConversionError(f"{state_path} is no state dict: it holds no tensors by name{_suggest(node)}")
        return source, node
    bare = _read_bare(node, "root")
    if bare is not None:
        return bare, node
    found_states = list(search_states(node))
    candidates = [source for source in found_states if _has_axes(source)] or found_states
    if not candidates:
        raise ConversionError(f"no state dict found in {_describe(node)}; --state-path \"root['...']\" names one")
    if len(candidates) > 1:
        listed = ", ".join(f"{source.path} ({len(source.tensors)} tensors)" for source in candidates[:12])
        raise ConversionError(
            f"several state dicts: {listed}; choose one with --state-path, or take all of them: --state-path root"
        )
    return candidates[0], node


def _read_bare(node: Node, path: str) -> Source | None:
    """Tensors without names: one alone is called `tensor`, those of a list by their numbers."""
    source = Source(path=path)
    if find_tensor(node) is not None:
        _add(source, "tensor", path, node)
    elif type(node) in (list, tuple) and node and all(find_tensor(item) is not None for item in node):
        for at, item in enumerate(node):
            _add(source, str(at), f"{path}[{at}]", item)
    return source if source.tensors else None


def _join_states(node: Node, path: str) -> Source | None:
    """The state dicts below a node as one, each under the keys that lead to it: `model.0.weight`, `critic.0.weight`."""
    joined = Source(path=path)
    for source in search_states(node, path):
        steps = [key for kind, key in _parse_path("root" + source.path.removeprefix(path)) if kind == "key"]
        prefix = "".join(f"{step}." for step in steps)
        joined.parts.append(source.path)
        joined.tensors += [replace(tensor, key=prefix + tensor.key) for tensor in source.tensors]
        joined.compounds += [(prefix + key, compound) for key, compound in source.compounds]
        joined.others += [(prefix + key, below, value) for key, below, value in source.others]
        joined.versions |= {f"{prefix}{module}".rstrip("."): version for module, version in source.versions.items()}
    return joined if joined.parts else None


def _suggest(root: Node) -> str:
    """The state dicts that there are, as the end of a refusal."""
    listed = ", ".join(f"{source.path} ({len(source.tensors)} tensors)" for source in list(search_states(root))[:12])
    return f"; state dicts: {listed}" if listed else f"; the file holds {_describe(root)}"


def _describe(root: Node) -> str:
    """The root and its entries in words, for a person who looks for the state dict."""
    if is_optimizer(root):
        return "the state of an optimizer, which belongs to a state dict elsewhere"
    entries = [f"root[{format_key(key)}]: {describe_node(value)[0]}" for key, value in key_value_pairs(root) or ()]
    listed = ", ".join(entries[:12]) + (f" and {len(entries) - 12} more" if len(entries) > 12 else "")
    return describe_node(root)[0] + (f" ({listed})" if listed else "")


def search_states(root: Node, path: str = "root") -> Iterator[Source]:
    """State dicts that are no optimizer state, outermost first, not deeper than a few levels."""
    pending: list[tuple[Node, str, int]] = [(root, path, 0)]
    searched = 0
    seen: set[int] = set()
    while pending:
        node, path, depth = pending.pop(0)
        searched += 1
        if id(node) in seen or searched > _MAX_SEARCHED:
            continue
        seen.add(id(node))
        source = read_state(node, path)
        if source is not None and _is_state(source):
            yield source
            continue
        if depth >= _MAX_DEPTH or is_optimizer(node):
            continue
        for key, value in key_value_pairs(node) or ():
            if type(key) is str and ("optim" in key.lower() or key == "param_groups"):
                continue
            if isinstance(value, DictNode | Call):
                pending.append((value, f"{path}[{format_key(key)}]", depth + 1))


def _has_axes(source: Source) -> bool:
    """Whether a tensor is more than one number: a dict of best scores is no state dict beside a real one."""
    return any((tensor.record or tensor.array).shape for tensor in source.tensors)  # type: ignore[union-attr]


def _is_state(source: Source) -> bool:
    extra = [key for key, _, _ in source.others if not key.rpartition(".")[2].startswith("_extra_state")]
    return bool(source.tensors) and len(extra) <= len(source.tensors) // 8


def read_state(node: Node, path: str) -> Source | None:
    """Read a node as a state dict: a mapping of names, or a module whose attributes are flattened."""
    pairs = key_value_pairs(node)
    source = Source(path=path)
    if pairs is not None:
        if any(type(key) is not str for key, _ in pairs):
            return None
        for key, value in pairs:
            _add(source, key, f"{path}[{format_key(key)}]", value)
        _read_versions(node, source)
    elif isinstance(node, Call) and state_attributes(node) is not None:
        _flatten(node, "", path, source, set())
    return source if source.tensors else None


def _add(source: Source, key: str, path: str, value: Node) -> None:
    compound = find_compound(value, path)
    if compound is not None:
        source.compounds.append((key, compound))
        source.tensors += [
            SourceTensor(key=f"{key}.{name}", path=below, record=part) for name, below, part in compound.parts
        ]
        return
    record = find_tensor(value)
    if record is not None:
        source.tensors.append(SourceTensor(key=key, path=path, record=record))
        return
    array = read_array(value)
    if array is not None and not array.is_object:
        source.tensors.append(SourceTensor(key=key, path=path, array=array))
        return
    source.others.append((key, path, value))


def _flatten(node: Call, prefix: str, path: str, source: Source, above: set[int]) -> None:
    """Tensors of a pickled module under the names that its state dict would give them."""
    if id(node) in above or len(above) > 200:
        return
    attributes = dict(state_attributes(node) or ())
    if "_modules" in attributes and "_parameters" in attributes:
        hidden = _text_members(attributes.get("_non_persistent_buffers_set"))
        for table in ("_parameters", "_buffers"):
            for key, value in key_value_pairs(attributes.get(table)) or ():
                if type(key) is str and value is not None and key not in hidden:
                    _add(source, prefix + key, f"{path}.{table}[{format_key(key)}]", value)
        for key, value in key_value_pairs(attributes["_modules"]) or ():
            if type(key) is str and isinstance(value, Call):
                inner = f"{path}._modules[{format_key(key)}]"
                _flatten(value, f"{prefix}{key}.", inner, source, above | {id(node)})
        return
    for key, value in attributes.items():
        below = path + format_step(("attr", key))
        if find_tensor(value) is not None:
            _add(source, prefix + key, below, value)
        elif isinstance(value, Call) and state_attributes(value) is not None:
            _flatten(value, f"{prefix}{key}.", below, source, above | {id(node)})


def _text_members(node: Node) -> set[str]:
    """The text items of a set, however the pickle spells it."""
    items: list[Node] = list(node) if type(node) is SetNode else []
    if isinstance(node, Call):
        given = node.args[0] if type(node.args) is tuple and node.args else []
        items = [*(given if type(given) in (list, tuple) else []), *(node.items or ())]
    return {item for item in items if type(item) is str}


def _read_versions(node: Node, source: Source) -> None:
    metadata = dict(state_attributes(node) or ()).get("_metadata") if isinstance(node, Call) else None
    for prefix, value in key_value_pairs(metadata) or ():
        version = dict(key_value_pairs(value) or ()).get("version") if _has_text_keys(value) else None
        if type(prefix) is str and type(version) is int:
            source.versions[prefix] = version


def _has_text_keys(node: Node) -> bool:
    return all(type(key) is str for key, _ in key_value_pairs(node) or ())


def resolve_path(root: Node, path: str) -> Node:
    """Follow a path such as `root['model'].state[0]` in the graph.

    Raises:
        ConversionError: The path is no such expression, or leads nowhere; the last place that exists is named.
    """
    node, reached = root, "root"
    for kind, key in _parse_path(path):
        found = _step(node, kind, key)
        if found is None:
            raise ConversionError(f"{path} leads nowhere: {reached} has no {key!r}")
        node = found[0]
        reached += f".{key}" if kind == "attr" else f"[{key!r}]"
    return node


def _parse_path(path: str) -> list[tuple[str, object]]:
    """The steps of a path from the root, each a kind (key or attr) and a key."""
    try:
        expression = ast.parse(path, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConversionError(f"{path!r} is no path: expected one like root['state_dict']") from error
    steps: list[tuple[str, object]] = []
    while not isinstance(expression, ast.Name):
        if isinstance(expression, ast.Subscript):
            try:
                steps.append(("key", ast.literal_eval(expression.slice)))
            except ValueError as error:
                raise ConversionError(f"{path!r} is no path: its keys must be plain values") from error
            expression = expression.value
        elif isinstance(expression, ast.Attribute):
            steps.append(("attr", expression.attr))
            expression = expression.value
        else:
            raise ConversionError(f"{path!r} is no path: expected one like root['state_dict']")
    if expression.id != "root":
        raise ConversionError(f"{path!r} is no path: it must begin with root")
    return steps[::-1]


def _step(node: Node, kind: str, key: object) -> tuple[Node] | None:
    if kind == "attr":
        for name, value in (state_attributes(node) or ()) if isinstance(node, Call) else ():
            if name == key:
                return (value,)
        return None
    for name, value in reversed(key_value_pairs(node) or ()):
        if type(name) is type(key) and type(key) in (str, int, float, bool, bytes, type(None)) and name == key:
            return (value,)
    items = node if type(node) in (list, tuple) else node.items if isinstance(node, Call) else None
    if items is not None and type(key) is int and -len(items) <= key < len(items):
        return (items[key],)
    return None
