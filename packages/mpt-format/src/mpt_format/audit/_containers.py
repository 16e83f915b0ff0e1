"""Which pickle streams a file holds and what kind of container it is, told by its bytes and never by its name.

Every candidate is found: the pickles of a torch zip, the five of a legacy file, those of a tar, the base64 ones in a
stable-baselines3 `data` member, object arrays of numpy files, archives inside archives. Reading stops at the limits;
nothing is unpacked to disk.
"""

from __future__ import annotations

__all__ = ["open_container"]

from collections.abc import Iterator

from ._container import Container, join_names
from ._limits import Limits
from ._nodes import DictNode, Node
from ._pickle_files import open_npy, open_pickles
from ._safetensors import read_safetensors_table
from ._sniff import find_foreign_format, is_tar_header
from ._stream import Buffer
from ._tar_files import open_tar
from ._zip import read_zip_directory
from ._zip_files import open_zip

_MOST_CONTAINERS = 10_000
"""Dicts, lists and tuples of an object that are looked through for byte strings."""


def open_container(data: Buffer, limits: Limits, *, name: str = "", nesting: int = 0) -> Container:
    """Tell what `data` is and read every pickle stream in it."""
    if not len(data):
        return Container(kind="empty", description="an empty file", opener=open_container, not_checkpoint=True)
    head = data[:4096]
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return open_zip(data, limits, name, nesting, open_container)
    foreign = find_foreign_format(head)
    if head.startswith(b"\x93NUMPY"):
        return open_npy(data, limits, name, open_container)
    if is_tar_header(head[:512]):
        return open_tar(data, limits, name, nesting, open_container)
    table = read_safetensors_table(data)
    if table is not None:
        tensors, problems = table
        return Container(
            kind="safetensors",
            opener=open_container,
            description="a safetensors file: tensors only, no pickle",
            tensors=tensors,
            problems=problems,
            without_pickle=True,
        )
    if foreign is not None and foreign[0] != "text":
        return _foreign(data, limits, foreign)
    container = open_pickles(data, limits, name, open_container)
    if container is None and foreign is not None:
        return _foreign(data, limits, foreign)
    if container is None:
        container = Container(
            kind="unknown", description="no format that is known here", opener=open_container, not_checkpoint=True
        )
    return _add_appended_zip(data, container, limits, name, nesting)


def _foreign(data: Buffer, limits: Limits, foreign: tuple[str, str]) -> Container:
    container = Container(kind=foreign[0], description=foreign[1], opener=open_container, not_checkpoint=True)
    return _add_appended_zip(data, container, limits, "", 0)


def _add_appended_zip(data: Buffer, container: Container, limits: Limits, name: str, nesting: int) -> Container:
    """Audit a zip that is appended to something else as well: Python's zipfile would open it."""
    directory = read_zip_directory(data, limits) if nesting < limits.nesting else None
    if directory is None or not directory.members:
        return container
    size = directory.end - directory.start
    if directory.start > 0 and size <= limits.inflated_size_bytes:
        content = data[directory.start : directory.end]
        if any(held == content for held in _find_byte_strings(container)):
            container.notes.append("a zip archive stands in it as a byte string")
            container.descend(content, join_names(name, "byte string"), directory.start, limits, nesting)
            return container
    inner = open_zip(data, limits, name, nesting, open_container)
    container.candidates.extend(inner.candidates)
    for candidate in inner.candidates:
        candidate.root = False
    container.problems.append("a zip archive is appended to it: two readers see two files")
    return container


def _find_byte_strings(container: Container) -> Iterator[bytes | memoryview]:
    """The byte strings in the containers of the object, as d3rlpy keeps a torch file beside its config."""
    root = container.get_root()
    pending: list[Node] = [root.stream.root] if root is not None else []
    seen: set[int] = set()
    while pending and len(seen) < _MOST_CONTAINERS:
        node = pending.pop()
        if type(node) in (bytes, memoryview):
            yield node
        elif type(node) in (list, tuple, DictNode) and id(node) not in seen:
            seen.add(id(node))
            pending.extend(node)
