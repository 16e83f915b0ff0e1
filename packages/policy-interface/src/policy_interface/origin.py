"""Where a class comes from: its distribution, version and original module name, isolated or not.

An isolated module carries its `Origin` under `ORIGIN_ATTRIBUTE`; for any other module the installed metadata answers.
Saving, error text and metrics use this and never the isolated name.
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

ORIGIN_ATTRIBUTE = "__mpt_origin__"
"""The name under which an isolating loader leaves an `Origin`, in a module or on its spec. Contract since 1.0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where code comes from.

    Attributes:
        distribution: the distribution's name, as in ``model-zoo``; empty for code that no distribution owns.
        version: the distribution's version text; empty for code that no distribution owns.
        digest: sha256 (hex) of the isolated unit; None for code imported in the ordinary way.
        module: the original module name, as in ``model_zoo.layers``.
        qualname: the class or function inside the module; empty for the module itself.
    """

    distribution: str
    version: str
    digest: str | None = None
    module: str
    qualname: str = ""

    def __str__(self) -> str:
        name = f"{self.module}.{self.qualname}" if self.qualname else self.module
        return f"{name} [{self.distribution} {self.version}]" if self.distribution else name


def origin_of(subject: object) -> Origin:
    """Return the origin of a class, a function, a module, or of the class of any other object.

    Example:
        >>> from policy_interface import Config
        >>> origin_of(Config).module
        'policy_interface.config'
    """
    if isinstance(subject, type) or (hasattr(subject, "__qualname__") and hasattr(subject, "__module__")):
        named = subject
    elif hasattr(subject, "__spec__") and hasattr(subject, "__name__"):
        return _module_origin(str(subject.__name__))
    else:
        named = type(subject)
    module = str(named.__module__)
    return replace(_module_origin(module), qualname=str(named.__qualname__))


def _module_origin(name: str) -> Origin:
    try:
        module = importlib.import_module(name)  # already imported: its class is at hand
    except ImportError:
        return Origin(distribution="", version="", module=name)
    # On the spec rather than among the module's names, which stay exactly those that its source makes.
    carried = getattr(module, ORIGIN_ATTRIBUTE, None) or getattr(
        getattr(module, "__spec__", None), ORIGIN_ATTRIBUTE, None
    )
    if isinstance(carried, Origin):
        return carried
    owner = _owner(name.partition(".")[0], getattr(module, "__file__", None))
    return Origin(distribution=owner, version=metadata.version(owner) if owner else "", module=name)


_FOUND: dict[tuple[str, str | None], str] = {}
"""Owners that were found, by top-level name and file: a name that nobody owns yet may be installed later."""


def _owner(top_level: str, file: str | None) -> str:
    key = top_level, file
    if key not in _FOUND:
        found = _find_owner(top_level, file, _environment())
        if not found:
            return ""
        _FOUND[key] = found
    return _FOUND[key]


def _environment() -> tuple[tuple[str, int], ...]:
    """Return what changes when something is installed: the folders that modules come from, with their times."""
    folders = [(path, Path(path)) for path in sys.path]
    return tuple((path, folder.stat().st_mtime_ns) for path, folder in folders if folder.is_dir())


@lru_cache(maxsize=1024)
def _find_owner(top_level: str, file: str | None, environment: tuple[tuple[str, int], ...]) -> str:
    listed = sorted(set(_listed_owners(environment).get(top_level, ())))
    if listed:
        return listed[0]
    # An editable install lists no modules; its direct_url.json names the project's folder.
    # Source: PEP 610 and the "Recording the Direct URL Origin" page of the PyPA specifications.
    for distribution in metadata.distributions():
        folder = _editable_folder(distribution)
        if folder is not None and file is not None and Path(file).is_relative_to(folder):
            return str(distribution.metadata["Name"])
    return ""


@lru_cache(maxsize=1)
def _listed_owners(environment: tuple[tuple[str, int], ...]) -> dict[str, list[str]]:
    return {top: list(names) for top, names in metadata.packages_distributions().items()}


def _editable_folder(distribution: metadata.Distribution) -> Path | None:
    text = distribution.read_text("direct_url.json")
    record = json.loads(text) if text else {}
    if not record.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlsplit(record["url"]).path))
