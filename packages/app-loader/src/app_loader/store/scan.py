"""The static scan of a unit: what its code touches that belongs to the whole process. Nothing is imported.

It reads source as text, and parses only the files in which the text gives a reason to. It reports, it never refuses.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app_loader.isolated import NATIVE_SUFFIXES

_REGISTERING = {
    "custom_op": "operator",
    "triton_op": "operator",
    "Library": "operator library",
    "register_pytree_node": "pytree node",
    "_register_pytree_node": "pytree node",
    "functional_datapipe": "data pipe",
    "register_kl": "KL divergence",
    "register_dataclass": "pytree node",
    "register_backend": "compiler backend",
    "register_lowering": "compiler lowering",
    "register_decomposition": "decomposition",
    "register_package": "storage location",
    "add_safe_globals": "safe global",
}
_CHANGING = {
    "set_default_dtype": "default dtype",
    "set_default_device": "default device",
    "set_default_tensor_type": "default dtype",
    "manual_seed": "random state",
    "set_start_method": "start method",
    "basicConfig": "root logger",
    "setrecursionlimit": "recursion limit",
    "set_num_threads": "thread count",
}
_LOADING = {
    "CDLL": "a native library",
    "PyDLL": "a native library",
    "LoadLibrary": "a native library",
    "load_library": "a native library",
    "load_inline": "compiles native code",
    "dlopen": "a native library",
}
_NATIVE_STARTS = (
    b"\x7fELF",
    b"\xcf\xfa\xed\xfe",
    b"\xce\xfa\xed\xfe",
    b"\xfe\xed\xfa\xcf",
    b"\xfe\xed\xfa\xce",
    b"!<arch>\n",
)
"""How ELF and Mach-O objects and archives of them begin, whatever the file is called."""
_TEXT = re.compile(
    r"sys\.modules|__import__|import_module|"
    + "|".join(re.escape(name) for name in (*_REGISTERING, *_CHANGING, *_LOADING, "gym"))
    + r"|environ|meta_path"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One place in the source.

    Attributes:
        file: posix path below the folder of modules.
        line: line number, from 1.
        text: what stands there.
    """

    file: str
    line: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """One entry that the code makes in a table of the process.

    Attributes:
        table: which table.
        name: the name it claims, empty where it is computed.
        file: posix path below the folder of modules.
        line: line number, from 1.
    """

    table: str
    name: str
    file: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanReport:
    """What a unit's code touches outside itself.

    Attributes:
        native: compiled files.
        module_table: places that name `sys.modules` or `sys.meta_path`.
        registrations: entries in tables of the process.
        self_names: strings in import calls that name the unit's own modules.
        changes: calls that change state shared by the process, or load native code into it.
        unreadable: source files that do not parse with this interpreter.
    """

    native: tuple[str, ...] = ()
    module_table: tuple[Sighting, ...] = ()
    registrations: tuple[Registration, ...] = ()
    self_names: tuple[Sighting, ...] = ()
    changes: tuple[Sighting, ...] = ()
    unreadable: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ScanReport:
        """Return the report that plain data describes."""
        return cls(
            native=tuple(document.get("native", ())),
            module_table=tuple(Sighting(**each) for each in document.get("module_table", ())),
            registrations=tuple(Registration(**each) for each in document.get("registrations", ())),
            self_names=tuple(Sighting(**each) for each in document.get("self_names", ())),
            changes=tuple(Sighting(**each) for each in document.get("changes", ())),
            unreadable=tuple(document.get("unreadable", ())),
        )


def scan_files(site: Path, files: Iterable[str], roots: frozenset[str]) -> ScanReport:
    """Scan the files of a unit.

    Args:
        site: the folder of modules.
        files: posix paths below it.
        roots: the unit's own top-level names.
    """
    names = sorted(files)
    lists: dict[str, list[Any]] = {"table": [], "register": [], "self": [], "change": []}
    unreadable: list[str] = []
    for name in names:
        if not name.endswith(".py"):
            continue
        text = (site / name).read_bytes().decode("utf-8", "replace")
        if not _TEXT.search(text):
            continue
        try:
            found = list(_sightings(ast.parse(text), name, roots))
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two: it is nested too deeply
            unreadable.append(name)
            continue
        for kind, sighting in found:
            lists[kind].append(sighting)
    loads = any(each.text.partition(":")[0] in _LOADING for each in lists["change"])
    return ScanReport(
        native=tuple(name for name in names if _is_native(site, name, loads=loads)),
        module_table=tuple(lists["table"]),
        registrations=tuple(lists["register"]),
        self_names=tuple(lists["self"]),
        changes=tuple(lists["change"]),
        unreadable=tuple(unreadable),
    )


def _is_native(site: Path, name: str, *, loads: bool) -> bool:
    """Whether a file is compiled code: by its name, or, where the source `loads` such, by how it begins.

    A program that is only ever started, as a bundled ffmpeg, does not come into this process.
    """
    if name.endswith(NATIVE_SUFFIXES) or ".so." in name:
        return True
    if not loads or name.endswith(".py"):
        return False
    with (site / name).open("rb") as file:
        return file.read(8).startswith(_NATIVE_STARTS)


def _sightings(tree: ast.Module, file: str, roots: frozenset[str]) -> Iterator[tuple[str, Any]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys":
            if node.attr in ("modules", "meta_path"):
                yield "table", Sighting(file=file, line=node.lineno, text=f"sys.{node.attr}")
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            text = first if isinstance(first, str) else ""
            if called in _REGISTERING:
                yield "register", Registration(table=_REGISTERING[called], name=text, file=file, line=node.lineno)
            elif called == "register" and _is_gym(node.func):
                given = next(
                    (k.value.value for k in node.keywords if k.arg == "id" and isinstance(k.value, ast.Constant)), ""
                )
                yield (
                    "register",
                    Registration(table="environment", name=text or str(given), file=file, line=node.lineno),
                )
            elif called in ("import_module", "__import__", "find_spec") and text.partition(".")[0] in roots:
                yield "self", Sighting(file=file, line=node.lineno, text=f"{called}({text!r})")
            elif called in _LOADING:
                yield "change", Sighting(file=file, line=node.lineno, text=f"{called}: {_LOADING[called]}")
            elif called in _CHANGING:
                yield "change", Sighting(file=file, line=node.lineno, text=f"{called}: {_CHANGING[called]}")
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and _is_environ(node.value):
            yield "change", Sighting(file=file, line=node.lineno, text="os.environ[...] = ...")


def _is_environ(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "environ"


def _is_gym(node: ast.expr) -> bool:
    text = ast.unparse(node)
    return text == "register" or text.startswith(("gym.", "gymnasium."))
