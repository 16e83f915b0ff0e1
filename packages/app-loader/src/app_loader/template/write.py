"""Writes the template: rendered into a temporary folder first, then moved into place in one step."""

from __future__ import annotations

import shutil
import tempfile
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from app_loader.errors import LoaderError
from app_loader.template.index import NamedIndex
from app_loader.template.names import ZooNames

_SUFFIX = ".jinja"
# a package's data may not hold dotted folders, and the package folder is named by the zoo
_RENAMED = {"github_workflows": ".github/workflows", "gitignore": ".gitignore", "importlinter": ".importlinter"}


class FolderTakenError(LoaderError):
    """Something stands where the zoo should be written; nothing was touched.

    Attributes:
        path: where.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"{path} exists and is not empty; choose another folder: mpt new-zoo NAME --into FOLDER")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.path,)


def write_zoo(names: ZooNames, folder: Path, index: NamedIndex | None = None) -> list[Path]:
    """Write a new zoo into a folder and return its files; `index` is where it gets the contract from.

    Raises:
        FolderTakenError: the folder is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FolderTakenError(str(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        scratch.chmod(0o755)
        _render(resources.files("app_loader.template").joinpath("files"), scratch, names, index)
        if folder.exists():
            folder.rmdir()
        scratch.replace(folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _render(source: Traversable, target: Path, names: ZooNames, index: NamedIndex | None) -> None:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    for item in source.iterdir():
        name = item.name.removesuffix(_SUFFIX)
        path = target / _RENAMED.get(name, names.package if name == "package" else name)
        if item.is_dir():
            path.mkdir(parents=True)
            _render(item, path, names, index)
        else:
            path.write_text(environment.from_string(item.read_text("utf-8")).render(zoo=names, index=index), "utf-8")
