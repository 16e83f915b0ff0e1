"""Read what `torch.load(weights_only=True)` accepts out of an installed torch, and write it as data.

    uv run --no-project --with torch==2.9.1 --with numpy packages/mpt-format/tools/extract_torch_rules.py RULES.json

One run adds (or replaces) the rules of the torch it runs under. The facts are read from the live tables and from the
syntax tree of `torch/_weights_only_unpickler.py`; nothing is typed in by hand. `--check` compares instead of writing.

Refuses to guess: an unpickler whose shape this script does not know stops it.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import inspect
import io
import json
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
import torch._weights_only_unpickler as unpickler


def extract_opcodes(tree: ast.Module) -> list[str]:
    """The opcode names that `Unpickler.load` compares the next byte with."""
    loads = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "load"]
    method = next(node for node in loads if node.args.args and node.args.args[0].arg == "self")
    names = {
        node.value.id
        for node in ast.walk(method)
        if isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id.isupper()
        and isinstance(node.slice, ast.Constant)
        and node.slice.value == 0
    }
    if not {"GLOBAL", "STOP", "REDUCE"} <= names:
        raise SystemExit("the unpickler of this torch has a shape that the script does not know")
    return sorted(name for name in names if hasattr(pickle, name))


def describe_global(value: Any) -> str:
    """What an allowed global is, as far as the unpickler's rules tell it apart."""
    if isinstance(value, torch.dtype):
        return "dtype"
    if isinstance(value, torch.serialization.StorageType) or (
        inspect.isclass(value) and value in torch._storage_classes
    ):
        return "storage"
    if inspect.isclass(value) and value in torch._tensor_classes:
        return "tensor"
    if inspect.isclass(value):
        return "list" if issubclass(value, list) else "class"
    if callable(value):
        return "function"
    return "value"


def storage_dtypes() -> dict[str, str]:
    """Legacy storage class name -> dtype of its elements."""
    table = torch.storage._storage_type_to_dtype_map()
    return {name: str(dtype).removeprefix("torch.") for name, dtype in table.items()}


def dtype_sizes() -> dict[str, int]:
    """Every dtype of this torch -> bytes of one element (0 for those that have no byte size)."""
    sizes = {}
    for name in dir(torch):
        value = getattr(torch, name)
        if isinstance(value, torch.dtype):
            sizes[str(value).removeprefix("torch.")] = int(value.itemsize)
    return dict(sorted(sizes.items()))


def refuses_longer_records() -> bool:
    """Whether a record of a zip must be exactly as long as its storage: tried on a file that is changed."""
    saved, changed = io.BytesIO(), io.BytesIO()
    torch.save(torch.zeros(4), saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name) + (bytes(4) if name.endswith("data/0") else b""))
    try:
        torch.load(io.BytesIO(changed.getvalue()), weights_only=True)
    except RuntimeError:
        return True
    return False


def extract() -> dict[str, Any]:
    """All rules of the running torch."""
    source_file = Path(inspect.getfile(unpickler))
    source = source_file.read_text()
    tree = ast.parse(source)
    set_item_types = ["dict", "OrderedDict", "Counter"] if "_check_set_item_target" in source else None
    allowed = {name: describe_global(value) for name, value in unpickler._get_allowed_globals().items()}
    by_import = {name: describe_global(value) for name, value in unpickler._get_user_allowed_globals().items()}  # type: ignore[no-untyped-call]
    return {
        "torch": torch.__version__.split("+")[0],
        "source_sha256": hashlib.sha256(source.encode()).hexdigest(),
        "opcodes": extract_opcodes(tree),
        "allowed": dict(sorted({**allowed, **by_import}.items())),
        "blocked_modules": sorted(unpickler._blocklisted_modules),
        "set_item_types": set_item_types,
        "appends_to_subclasses": "_check_append_target" in source,
        "pending_newobj": "_PendingNewobj" in source,
        "exact_records": refuses_longer_records(),
        "safetensors_by_name": ".safetensors" in inspect.getsource(torch.load),
        "storage_dtypes": dict(sorted(storage_dtypes().items())),
        "dtype_sizes": dtype_sizes(),
    }


def main() -> int:
    """Write or check the rules of the running torch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rules", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    rules = extract()
    version = rules.pop("torch")
    table = json.loads(arguments.rules.read_text()) if arguments.rules.exists() else {"versions": {}}
    packed = pack(table)
    packed[version] = rules
    text = render(packed)
    if arguments.check:
        same = arguments.rules.read_text() == text
        print(f"torch {version}: {'the table is true' if same else 'the table DIFFERS'}")
        return 0 if same else 1
    arguments.rules.write_text(text)
    print(f"torch {version}: {len(rules['opcodes'])} opcodes, {len(rules['allowed'])} globals")
    return 0


def pack(table: dict[str, Any]) -> dict[str, Any]:
    """Version -> full rules, from the stored form in which a version names only what changed."""
    full: dict[str, Any] = {}
    current: dict[str, Any] = {}
    for version in sorted(table["versions"], key=version_key):
        current = {**current, **table["versions"][version]}
        full[version] = current
    return full


def render(full: dict[str, Any]) -> str:
    """The stored form: versions in order, each with the fields that differ from the version before."""
    stored: dict[str, Any] = {}
    current: dict[str, Any] = {}
    for version in sorted(full, key=version_key):
        stored[version] = {
            key: value for key, value in full[version].items() if key not in current or current[key] != value
        }
        current = full[version]
    return json.dumps({"about": "written by tools/extract_torch_rules.py", "versions": stored}, indent=1) + "\n"


def version_key(version: str) -> tuple[int, ...]:
    """The numbers of a release version, for sorting."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())


if __name__ == "__main__":
    sys.exit(main())
