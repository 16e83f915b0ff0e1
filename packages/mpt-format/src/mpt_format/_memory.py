"""Which tensors lie in the same bytes of memory.

Works on byte extents: two tensors belong together when their extents in one storage overlap. Interleaved strided
tensors that never touch the same byte are grouped too; that costs nothing and keeps them beside each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from mpt_format.dtypes import BITS, find_format_dtype
from mpt_format.errors import ArchiveProblem, UnstorableStateError
from mpt_format.records import ViewRecord
from mpt_format.torch_payload import TorchPayload

_PLAIN_BYTES = frozenset(
    {torch.uint8, torch.int8, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz}
)
"""One-byte dtypes in which any byte is a value; bool is not one, packed pairs cannot be viewed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapGroup:
    """Tensors that share bytes.

    Attributes:
        names: their keys, in state dict order.
        tensors: all tensors of the state dict by key.
        start: first byte of the group, from the start of the storage.
        stop: one past its last byte.
    """

    names: tuple[str, ...]
    tensors: Mapping[str, torch.Tensor]
    start: int
    stop: int

    @property
    def is_alone(self) -> bool:
        """Whether it is one tensor that shows no byte twice."""
        if len(self.names) > 1:
            return False
        return _is_once(self.tensors[self.names[0]])

    @property
    def origin(self) -> int:
        """The group's first byte, down to a multiple of its widest element: every view begins at whole elements."""
        return self.start - self.start % self._widest.itemsize

    @property
    def _widest(self) -> torch.dtype:
        dtypes = [self.tensors[name].dtype for name in self.names]
        widest = max(dtypes, key=lambda dtype: dtype.itemsize)
        return widest if widest.itemsize > 1 or (len(set(dtypes)) == 1 and widest in _PLAIN_BYTES) else torch.uint8

    def find_canonical(self) -> str | None:
        """Return the first tensor that covers the whole group and is dense, if there is one.

        Among several dtypes it has to be of a widest one: its place in the file is aligned to its own elements.
        """
        for name in self.names:
            tensor = self.tensors[name]
            covers = tensor.numel() * tensor.element_size() == self.stop - self.start and tensor.is_contiguous()
            if covers and tensor.element_size() == self._widest.itemsize:
                return name
        first = self.names[0]
        if all(self.is_same(name, first) for name in self.names):
            tensor = self.tensors[first]
            if tensor.numel() == 0 or _is_once(tensor):
                return first
        return None

    def is_same(self, name: str, other: str) -> bool:
        """Tell whether two keys are one and the same tensor."""
        a, b = self.tensors[name], self.tensors[other]
        return a is b or bool(
            a.dtype == b.dtype
            and a.shape == b.shape
            and a.stride() == b.stride()
            and a.storage_offset() == b.storage_offset()
            and a.numel() > 0
        )

    def view_of(self, name: str) -> ViewRecord:
        """Return how a tensor lies in the group's bytes, from its origin.

        Raises:
            UnstorableStateError: its elements are smaller than a byte.
        """
        tensor = self.tensors[name]
        dtype = find_format_dtype(tensor.dtype)
        if dtype is None or BITS[dtype] < 8:
            message = f"is a {tensor.dtype} view of other tensors' memory; give it memory of its own with .clone()"
            raise UnstorableStateError([ArchiveProblem(where=name, message=message)])
        return ViewRecord(
            dtype=dtype,
            shape=tuple(tensor.shape),
            stride=tensor.stride(),
            offset_bytes=int(tensor.storage_offset()) * tensor.element_size() - self.origin,
        )

    def covered_bytes(self) -> TorchPayload:
        """Return the group's bytes, from its origin, as whole elements of its widest dtype."""
        tensor = self.tensors[self.names[0]]
        count = -(-(self.stop - self.origin) // self._widest.itemsize)
        storage = tensor.untyped_storage()
        wanted = count * self._widest.itemsize
        raw = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(
            storage, self.origin, (min(wanted, storage.nbytes() - self.origin),), (1,)
        )
        if raw.numel() < wanted:  # the storage ends amid a last wide element
            raw = torch.cat([raw, raw.new_zeros(wanted - raw.numel())])
        return TorchPayload.of(self.names[0], raw.view(self._widest))


def groups_of_overlap(tensors: Mapping[str, torch.Tensor]) -> list[OverlapGroup]:
    """Group the keys whose memory overlaps, in the order of their first keys."""
    groups: list[OverlapGroup] = []
    empty: dict[int, list[str]] = {}
    by_storage: dict[tuple[str, int], list[tuple[int, int, int, str]]] = {}
    for index, (name, tensor) in enumerate(tensors.items()):
        if tensor.numel() == 0:
            empty.setdefault(id(tensor), []).append(name)  # no bytes: tied only by being one object
            continue
        storage = tensor.untyped_storage()
        start, stop = _extent(tensor)
        by_storage.setdefault((str(tensor.device), storage.data_ptr()), []).append((start, stop, index, name))
    for entries in by_storage.values():
        entries.sort()
        members: list[tuple[int, str]] = []
        begin = end = -1
        for start, stop, index, name in entries:
            if members and start >= end:
                groups.append(_group(members, tensors, begin, end))
                members = []
            if not members:
                begin, end = start, stop
            members.append((index, name))
            end = max(end, stop)
        groups.append(_group(members, tensors, begin, end))
    for names in empty.values():
        groups.append(OverlapGroup(names=tuple(names), tensors=tensors, start=0, stop=0))
    order = {name: index for index, name in enumerate(tensors)}
    return sorted(groups, key=lambda group: order[group.names[0]])


def _group(members: list[tuple[int, str]], tensors: Mapping[str, torch.Tensor], start: int, stop: int) -> OverlapGroup:
    return OverlapGroup(names=tuple(name for _, name in sorted(members)), tensors=tensors, start=start, stop=stop)


def _extent(tensor: torch.Tensor) -> tuple[int, int]:
    width = tensor.element_size()
    last = sum((length - 1) * step for length, step in zip(tensor.shape, tensor.stride(), strict=True))
    start = int(tensor.storage_offset()) * width
    return start, start + (int(last) + 1) * width


def _is_once(tensor: torch.Tensor) -> bool:
    """Tell whether no element is shown twice, for strides that nest (those of slices and permutations)."""
    end = 0
    if tensor.numel() == 0:
        return True
    for step, length in sorted((s, n) for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n > 1):
        if step <= end:
            return False
        end += step * (length - 1)
    return True
