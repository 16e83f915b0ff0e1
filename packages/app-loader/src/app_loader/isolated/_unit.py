"""A unit: a set of distributions that are imported together under one isolated name.

It answers three questions: which names are its own, what a name is called inside it, and where a module comes from.
It imports nothing itself; `Unit.import_module` is the one exception, and says so.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from policy_interface.origin import Origin

from app_loader.errors import NativeCodeError
from app_loader.isolated._entrance import Entrance
from app_loader.isolated._helpers import helper_of, name_after, supply
from app_loader.isolated._names import PREFIX, SHIMS, make_identifier
from app_loader.isolated._native import needed_native
from app_loader.isolated._owned import OwnedNames
from app_loader.isolated._rewriter import Rewriter
from app_loader.isolated._targets import HELPER_MARK

_HERE = str(Path(__file__).parent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One distribution of a unit.

    Attributes:
        distribution: its name.
        version: its version text.
        owned: the module names it brings.
        info: its dist-info folder, None for a bare folder of modules.
    """

    distribution: str
    version: str
    owned: OwnedNames
    info: Path | None = None


class Unit:
    """One set of distributions, importable beside any other.

    Attributes:
        identifier: the last component of the isolated package's name.
        prefix: the isolated package's name.
        parts: the distributions, the main one first.
        digest: sha256 (hex) of the unit.
        folder: where the modules lie.
        bytecode: where its compiled modules are kept, None to keep none.
        hashes: sha256 (hex) of each file by its path relative to `folder`; empty where nothing pins them.
        native: its compiled files, by path relative to `folder`; none is ever loaded.
        operators: operators (``namespace::name``) that the unit itself defined with torch.library.
        effects: what importing its modules changed in shared state.
        environments: ids that the unit registered with a shared gymnasium.
        dynamic: names of modules that the unit's code made at run time.
        search: where its top-level modules lie: its folder, and those of its folders that its code put on `sys.path`.
        added: top-level names that those bring.
        builtins: what its modules see as builtins; filled when its package is imported.
        helpers: makes what rewritten code names in `builtins`, by name; filled when its package is imported.
        shims: its stand-ins for shared modules, by the shared name.
        loader: the class of its modules' loaders, made for the first of them.
        lock: around the unit's own tables.
        entrance: lets one thread at a time import from outside.
        postponed: registrations that wait for what the unit may still define; each is told whether it no longer can,
            and says whether it is done.
        conflicts: refusals by the ledger during the import that is under way.
    """

    def __init__(
        self,
        *,
        parts: tuple[Part, ...],
        digest: str,
        folder: Path,
        bytecode: Path | None = None,
        hashes: Mapping[str, str] | None = None,
        native: tuple[str, ...] = (),
        identifier: str | None = None,
    ) -> None:
        main = parts[0]
        self.identifier = identifier or make_identifier(main.distribution, main.version, digest)
        self.prefix = PREFIX + self.identifier
        self.parts = parts
        self.digest = digest
        self.folder = folder
        self.bytecode = bytecode
        self.hashes: Mapping[str, str] = hashes or {}
        self.native = native
        self.owned = parts[0].owned
        for part in parts[1:]:
            self.owned |= part.owned
        self.operators: set[str] = set()
        self.dynamic: set[str] = set()
        self.search = [str(folder)]
        self.added: set[str] = set()
        self.environments: set[str] = set()
        self.effects: list[Any] = []
        self.builtins: dict[str, Any] = {}
        self.helpers: Mapping[str, Callable[[Unit], Any]] = {}
        self.shims: dict[str, ModuleType] = {}
        self.loader: Any = None
        self.lock = threading.RLock()
        self.entrance = Entrance(f"{main.distribution} {main.version}")
        self.postponed: list[Callable[[bool], bool]] = []
        self.conflicts: list[Exception] = []

    @cached_property
    def rewriter(self) -> Rewriter:
        """What its modules are compiled with; a unit whose bytecode is at hand needs none."""
        return Rewriter(self.prefix, self.owned)

    @property
    def importing(self) -> bool:
        """Whether an import from outside is under way."""
        return bool(self.entrance.inside)

    @property
    def distribution(self) -> str:
        """The main distribution's name."""
        return self.parts[0].distribution

    @property
    def version(self) -> str:
        """The main distribution's version text."""
        return self.parts[0].version

    def __repr__(self) -> str:
        return f"<isolated {self.distribution} {self.version} [{self.digest[:12]}] from {self.folder}>"

    def owns(self, name: str) -> bool:
        """Whether an original module name belongs to this unit."""
        return self.owned.owns(name) or name in self.dynamic or name.partition(".")[0] in self.added

    def isolated_name(self, name: str) -> str:
        """Return the importable name of one of the unit's own modules, and any other name as it is."""
        return f"{self.prefix}.{name}" if self.owns(name) else name

    def dynamic_name(self, name: str) -> str:
        """Return the name of a module that its code makes at run time: inside the unit, so that two never meet."""
        if name.startswith(f"{self.prefix}."):
            return name
        if not self.owns(name):
            self.dynamic.add(name)
        return f"{self.prefix}.{name}"

    def search_also(self, folder: str, names: Iterable[str]) -> None:
        """Let top-level modules of some names be found in one more of its folders."""
        with self.lock:
            if folder not in self.search:
                self.search.append(folder)
            self.added.update(name for name in names if not self.owned.owns(name))

    def look_again(self, root: str) -> bool:
        """Whether a top-level name that nobody has was put into one of those folders since it was listed."""
        if self.owns(root):
            return False
        places = [Path(folder, root) for folder in self.search[1:]]
        if not any(place.is_dir() or place.with_suffix(".py").is_file() for place in places):
            return False
        with self.lock:
            self.added.add(root)
        return True

    def original_name(self, name: str) -> str:
        """Return the original name of one of the unit's isolated modules, and any other name as it is."""
        start = len(self.prefix)
        return name[start + 1 :] if name.startswith(self.prefix) and name[start : start + 1] == "." else name

    def shim_name(self, name: str) -> str:
        """Return the importable name of a shim for a shared module, such as ``importlib``."""
        return f"{self.prefix}.{SHIMS}.{name}"

    def origin(self, name: str) -> Origin:
        """Return the origin of one of its modules, given by isolated or original name."""
        original = self.original_name(name)
        part = next((part for part in self.parts if part.owned.owns(original)), self.parts[0])
        return Origin(distribution=part.distribution, version=part.version, digest=self.digest, module=original)

    def supply_helpers(self, compiled: bytes) -> None:
        """Put the helpers that a compiled module names, which stand in it as they are, into the unit's builtins.

        Most modules name none, and shims are not made before one is needed: made ahead they would cost every unit
        0.5 ms and 30 KiB.
        """
        if HELPER_MARK not in compiled:
            return
        with self.lock:
            for name, make in self.helpers.items():
                full = helper_of(self.identifier, name)
                if full not in self.builtins and full.encode() in compiled:
                    supply(self.builtins, full, name_after(make(self), self.shim_name("builtins"), full))

    def settle(self, *, last: bool = False) -> None:
        """Make the registrations that no longer have to wait."""
        waiting, self.postponed = self.postponed, []
        self.postponed += [each for each in waiting if not each(last)]

    def _refuse_native(self, name: str) -> None:
        if self.native and self.owns(name) and self.isolated_name(name) not in sys.modules:
            needed = needed_native(self.folder, self.native, name)
            if needed:
                raise NativeCodeError(f"{self.distribution} {self.version}", needed)

    def import_module(self, name: str) -> ModuleType:
        """Import a module of this unit by its original name, or a shared one as it is.

        Raises:
            NativeCodeError: it needs compiled modules of the unit; nothing of it has run.
        """
        full = self.isolated_name(name)
        present = sys.modules.get(full)
        # A module may have put any object in its place, which has no spec.
        if present is not None and not getattr(getattr(present, "__spec__", None), "_initializing", False):
            self.entrance.let_others_leave()
            return present
        self._refuse_native(name)
        try:
            with self.entrance.entered():
                try:
                    __import__(full)  # gives way where threads wait for one another; `import_module` raises there
                    self.settle(last=True)
                    if self.conflicts:  # the code caught the refusal and went on without its registration
                        raise self.conflicts[0]
                    return sys.modules[full]
                finally:
                    self.postponed.clear()
                    self.conflicts.clear()
        except BaseException as error:
            error.__traceback__ = _trimmed(error.__traceback__)
            raise


def _trimmed(traceback: TracebackType | None) -> TracebackType | None:
    """Take the frames of the isolation itself out of a traceback, as CPython does with those of its import system."""
    kept: list[TracebackType] = []
    while traceback is not None:
        if not traceback.tb_frame.f_code.co_filename.startswith(_HERE):
            kept.append(traceback)
        traceback = traceback.tb_next
    following: TracebackType | None = None
    for each in reversed(kept):
        each.tb_next = following
        following = each
    return following
