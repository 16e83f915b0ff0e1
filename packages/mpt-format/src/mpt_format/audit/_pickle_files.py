"""Files that are pickles from their first byte: plain ones, torch's legacy five in a row, NumPy's object arrays.

Streams are followed as long as each ends in STOP; storages of a legacy file are located and not read.

Source: `torch/serialization.py` (`_legacy_save`, `legacy_load`), NumPy's NEP 1 (.npy), `joblib/numpy_pickle.py`.
"""

from __future__ import annotations

__all__ = ["LEGACY_MAGIC", "add_trailing_pickle", "follow_streams", "open_npy", "open_pickles"]

from ._container import Candidate, Container, Opener, join_names, names_something
from ._limits import Limits
from ._machine import run_pickle
from ._nodes import Call, Global, Persistent
from ._sniff import looks_like_pickle
from ._stream import BUILD, Buffer, Stream
from ._tensors import storage_item_size, storage_record

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""First value of a file written by torch before 1.6 (`MAGIC_NUMBER`)."""
_LEGACY_PROTOCOL = 1001
_JOBLIB_ARRAYS = frozenset(
    {"joblib.numpy_pickle.NumpyArrayWrapper", "sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper"}
)
"""Classes whose state is followed by the bytes of an array (joblib 0.10 and newer)."""


def open_pickles(data: Buffer, limits: Limits, name: str, opener: Opener) -> Container | None:
    """A raw pickle or torch's legacy file: streams one after the other from the first byte."""
    first = run_pickle(data, 0, limits)
    if not first.complete and not first.log and not looks_like_pickle(data[:3]):
        return None
    if not first.complete and not looks_like_pickle(data[:3]) and not names_something(first):
        return None
    if first.complete and first.end <= 2 and first.end == len(data) and not looks_like_pickle(data[:3]):
        return None
    if not first.complete and (array := _find_joblib_array(first)) is not None:
        return _open_joblib(data, limits, name, array, opener)
    if type(first.root) is int and first.root == LEGACY_MAGIC:
        return _open_legacy(data, limits, name, first, opener)
    container = Container(
        kind="pickle",
        opener=opener,
        description="a plain pickle, not written by torch.save",
        candidates=[Candidate(name=name, stream=first, root=True)],
        turns=min(first.end, limits.opcodes),
        torch_refusal="Invalid magic number; corrupt file? (a plain pickle, not written by torch.save)",
    )
    follow_streams(data, first, container, limits, name)
    silent = not any(names_something(candidate.stream) for candidate in container.candidates)
    if silent and not looks_like_pickle(data[:3]) and container.candidates[-1].stream.end < len(data):
        return None  # text whose first letters happen to be opcodes up to a full stop
    return container


def _find_joblib_array(stream: Stream) -> int | None:
    """Offset behind the first array of a file of joblib's: what follows are its bytes, which name and call nothing."""
    for event in stream.log:
        if type(event) is tuple and event[1] == BUILD:
            target = event[2][0]
            if isinstance(target, Call) and type(target.func) is Global and target.func.full_name in _JOBLIB_ARRAYS:
                behind = [later for later in stream.log if type(later) is not tuple and later.offset > event[0]]
                return None if names_something(Stream(log=behind)) else int(event[0]) + 1
    return None


def _open_joblib(data: Buffer, limits: Limits, name: str, array: int, opener: Opener) -> Container:
    """Read a file of joblib's up to its first array, and say so: a pickle goes on behind the bytes of each."""
    stream = run_pickle(data, 0, limits, stop=array)
    stream.problem = None
    stream.limit = f"joblib: read up to byte {array}, where the bytes of the first array stand"
    return Container(
        kind="joblib",
        opener=opener,
        description="a file of joblib.dump: a pickle with the bytes of arrays in between",
        candidates=[Candidate(name=name, stream=stream, root=True)],
        turns=min(array, limits.opcodes),
        torch_refusal="Invalid magic number; corrupt file? (written by joblib.dump, not by torch.save)",
    )


def follow_streams(data: Buffer, first: Stream, container: Container, limits: Limits, name: str) -> None:
    """Read the streams that stand behind the first one, as long as each ends in STOP."""
    stream = first
    while stream.complete and stream.end < len(data):
        if not container.may_read_on(limits):
            return
        at = stream.end
        stream = container.read_stream(data, at, limits)
        if not stream.complete and not any(type(event) is not tuple for event in stream.log):
            container.notes.append(f"{len(data) - at} bytes follow the last pickle and are no pickle")
            return
        container.candidates.append(
            Candidate(name=join_names(name, f"pickle {len(container.candidates) + 1}"), stream=stream)
        )


def _open_legacy(data: Buffer, limits: Limits, name: str, magic: Stream, opener: Opener) -> Container:
    container = Container(
        kind="legacy",
        opener=opener,
        description="torch's legacy format (before 1.6, or saved with _use_new_zipfile_serialization=False)",
        storage_fields=6,
    )
    streams = [magic]
    labels = ("magic number", "protocol version", "system info", "object", "storage keys")
    while len(streams) < len(labels) and streams[-1].complete:
        streams.append(run_pickle(data, streams[-1].end, limits))
    for label, stream in zip(labels, streams, strict=False):
        container.candidates.append(
            Candidate(
                name=name if label == "object" else join_names(name, label), stream=stream, root=label == "object"
            )
        )
    if len(streams) < len(labels) or not streams[-1].complete:
        return container
    if streams[1].root != _LEGACY_PROTOCOL:
        container.torch_refusal = "Invalid protocol version"
    system = streams[2].root
    if type(system) is type(streams[2].root) and isinstance(system, list):
        for key, value in zip(system[::2], system[1::2], strict=False):
            if key == "little_endian" and value is False:
                container.byteorder = "big"
    container.notes.extend(_locate_legacy_storages(data, streams[3], streams[4], container, name, limits))
    return container


def _locate_legacy_storages(
    data: Buffer, root: Stream, keys: Stream, container: Container, name: str, limits: Limits
) -> list[str]:
    """Find each storage behind the last pickle: eight bytes of length in elements, then the elements."""
    records = [(event.offset, record) for event in root.log if (record := storage_record(event)) is not None]
    uses = [(offset, record.key, record.item_size_bytes) for offset, record in records]
    uses += [(use.offset, key, storage_item_size(use.kind.name)) for key, use in root.storages.items()]
    sizes = {key: size for _, key, size in sorted(uses, reverse=True)}  # the first use of a key counts
    at = keys.end
    listed = keys.root if isinstance(keys.root, list) else []
    for key in listed:
        if at + 8 > len(data):
            container.problems.append("the file ends before its last storage")
            return []
        count = int.from_bytes(data[at : at + 8], "little", signed=True)
        item = sizes.get(str(key), 0)
        if count < 0 or not item or at + 8 + count * item > len(data):
            if not item and any(type(event) is Persistent and type(event.pid) is str for event in root.log):
                return ["its storages are named in text (protocol 0), which no torch version can read back"]
            if not item:
                container.problems.append("a storage is listed that no tensor uses, so its length is unknown")
            else:
                container.problems.append("the file ends before its last storage")
            return []
        container.storages[str(key)] = (at + 8, count * item)
        at += 8 + count * item
    if at < len(data):
        add_trailing_pickle(data, at, container, name, limits)
        return [f"{len(data) - at} bytes follow the last storage"]
    return []


def add_trailing_pickle(data: Buffer, at: int, container: Container, name: str, limits: Limits) -> None:
    """Audit what follows the end of a format as well, where it is pickles that name something."""
    while at < len(data) and container.may_read_on(limits):
        stream = container.read_stream(data, at, limits)
        if any(type(event) is not tuple for event in stream.log):
            container.candidates.append(Candidate(name=join_names(name, f"byte {at}"), stream=stream))
        if not stream.complete:
            return
        at = stream.end


def open_npy(data: Buffer, limits: Limits, name: str, opener: Opener) -> Container:
    container = Container(kind="npy", description="a NumPy array file", opener=opener, not_checkpoint=True)
    wide = data[6] > 1 if len(data) > 6 else False
    length = int.from_bytes(data[8:12] if wide else data[8:10], "little")
    start = (12 if wide else 10) + length
    header = data[10:start]
    if b"O" in header.split(b"'shape'")[0].replace(b"fortran_order", b""):
        stream = run_pickle(data, min(start, len(data)), limits)
        container.description = "a NumPy file of pickled objects"
        container.candidates.append(Candidate(name=name, stream=stream, root=True))
    return container
