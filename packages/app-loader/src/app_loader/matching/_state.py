"""What is known while matching: both signatures, their indexes, and the matches made so far.

Refuses to decide anything: the phases (`exact`, `context`, `composite`) read it and record their matches here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from app_loader.matching._names import parents, pattern, words
from app_loader.matching.signature import Match, TensorInfo

TensorClass = tuple[tuple[int, ...], str]


class Side:
    """One signature with its indexes."""

    def __init__(self, tensors: Sequence[TensorInfo], tied: Sequence[Sequence[str]]) -> None:
        ordered = sorted(enumerate(tensors), key=lambda item: (item[1].order, item[0]))
        self.tensors = [tensor for _, tensor in ordered]
        self.by_key = {tensor.key: tensor for tensor in self.tensors}
        self.rank = {tensor.key: index for index, tensor in enumerate(self.tensors)}
        self.tied_with: dict[str, tuple[str, ...]] = {}
        for group in tied:
            known = tuple(key for key in group if key in self.by_key)
            for key in known:
                self.tied_with[key] = known
        units: dict[str, list[TensorInfo]] = defaultdict(list)
        self.by_pattern: dict[str, list[str]] = defaultdict(list)
        self.below: dict[str, list[str]] = defaultdict(list)
        for tensor in self.tensors:
            units[tensor.key.rpartition(".")[0]].append(tensor)
            self.by_pattern[pattern(tensor.key)].append(tensor.key)
            for path in parents(tensor.key):
                self.below[path].append(tensor.key)
        self.numbered: dict[str, set[str]] = defaultdict(set)
        for path in self.below:
            above, _, name = path.rpartition(".")
            if name.isdigit():
                self.numbered[above].add(name)
        self._akin: dict[str, int] = {}
        self._kinds_below: dict[str, frozenset[str]] = {}
        self._alike: dict[tuple[str, str], int] = {}
        self.unit_of = {
            tensor.key: tuple((t.shape, t.kind) for t in units[tensor.key.rpartition(".")[0]])
            for tensor in self.tensors
        }
        self.word_count = Counter(word for tensor in self.tensors for word in words(tensor.key))
        self.has_types = any(tensor.module_type for tensor in self.tensors)

    def count_alike(self, key: str) -> int:
        """How many tensors, itself included, differ in numbers only and belong to modules of its type."""
        kind = self.by_key[key].module_type
        cell = (pattern(key), kind)
        if cell not in self._alike:
            self._alike[cell] = sum(self.by_key[other].module_type == kind for other in self.by_pattern[cell[0]])
        return self._alike[cell]

    def list_sizes(self, key: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """For every numbered list of module trees around a tensor, outermost first: its length, and its elements akin.

        Elements are akin when the kinds of module below them are mostly the same, whatever their names and shapes.
        """
        elements = [
            path
            for path in reversed(parents(key))
            if path.rpartition(".")[2].isdigit() and key.count(".") > path.count(".") + 1
        ]
        lengths = tuple(len(self.numbered[path.rpartition(".")[0]]) for path in elements)
        return lengths, tuple(self._count_akin(path) for path in elements)

    def _count_akin(self, element: str) -> int:
        if element not in self._akin:
            above = element.rpartition(".")[0]
            mine = self._kinds(element)
            siblings = [f"{above}.{name}" if above else name for name in self.numbered[above]]
            self._akin[element] = sum(
                2 * len(mine & self._kinds(other)) >= len(mine | self._kinds(other)) for other in siblings
            )
        return self._akin[element]

    def _kinds(self, path: str) -> frozenset[str]:
        if path not in self._kinds_below:
            self._kinds_below[path] = frozenset(
                self.by_key[key].module_type or key.rpartition(".")[2] for key in self.below[path]
            )
        return self._kinds_below[path]

    def class_of(self, key: str) -> TensorClass:
        """Shape and kind: only tensors of one class can be copies of each other."""
        tensor = self.by_key[key]
        return tensor.shape, tensor.kind

    def static_features(self, key: str) -> frozenset[str]:
        """What a tensor can be told apart by: words of its key, words of its module's type, the shapes beside it."""
        tensor = self.by_key[key]
        found = set(words(key))
        if tensor.module_type:
            found.add("type=" + tensor.module_type)
            found.update("type:" + word for word in words(tensor.module_type))
        found.add(f"unit={self.unit_of[key]}")
        return frozenset(found)


class State:
    """Both sides and the matches so far."""

    def __init__(self, old: Side, new: Side) -> None:
        self.old = old
        self.new = new
        self.source: dict[str, str] = {}
        self.taken: dict[str, str] = {}
        self.composites: dict[str, Match] = {}
        self.evidence: dict[str, tuple[str, ...]] = {}
        self.contested: dict[str, str] = {}
        self._modules: dict[str, str] = {}
        self._old_static = {tensor.key: old.static_features(tensor.key) for tensor in old.tensors}
        self._new_static = {tensor.key: new.static_features(tensor.key) for tensor in new.tensors}

    def accept(self, new: str, old: str, *evidence: str) -> None:
        """Record a match that is certain."""
        self.source[new] = old
        self.taken[old] = new
        self.evidence[new] = evidence

    def accept_composite(self, match: Match, sources: Sequence[str]) -> None:
        """Record a certain match that is made of other than one equal tensor."""
        self.composites[match.new] = match
        for key in sources:
            self.taken[key] = match.new

    def open_old(self) -> list[str]:
        """Old keys without a match; a key tied to a matched one is not open."""
        return [
            t.key
            for t in self.old.tensors
            if t.key not in self.taken and not any(mate in self.taken for mate in self.old.tied_with.get(t.key, ()))
        ]

    def open_new(self) -> list[str]:
        """New keys without a match; a key tied to a matched one is not open."""
        return [
            t.key
            for t in self.new.tensors
            if t.key not in self.source
            and t.key not in self.composites
            and not any(mate in self.source for mate in self.new.tied_with.get(t.key, ()))
        ]

    def lists_stand(self, old: str, new: str, path: str) -> bool:
        """Whether the lists around both are equally long, or the innermost element is known to correspond."""
        inside = self.deepest_element(old)
        if path == inside or path.startswith(inside + "."):
            return True
        for sizes, wanted in zip(self.old.list_sizes(old), self.new.list_sizes(new), strict=True):
            shared = min(len(sizes), len(wanted))
            if sizes[:shared] == wanted[:shared] or (len(sizes) != len(wanted) and sizes[-shared:] == wanted[-shared:]):
                return True
        return False

    def corresponding(self, path: str) -> str:
        """The new module that corresponds to an old one, as of the last `module_map`."""
        return self._modules.get(path, "")

    def deepest_element(self, key: str) -> str:
        """Path of the innermost list element that an old tensor lies in, or of the tensor itself."""
        return next((path for path in parents(key) if any(c.isdigit() for c in path.rpartition(".")[2])), key)

    def module_map(self) -> dict[str, str]:
        """Old module path to new module path, where every match below the one lies below the other and the reverse."""
        image: dict[str, str] = {}
        preimage: dict[str, str] = {}
        for new_key, old_key in self.source.items():
            for path in parents(old_key):
                image[path] = _common(image.get(path), new_key)
            for path in parents(new_key):
                preimage[path] = _common(preimage.get(path), old_key)
        found = {"": ""}
        for path, target in image.items():
            if path in image and path in preimage and _inside(image[path], path) and _inside(preimage[path], path):
                found[path] = path
            elif preimage.get(target) == path:
                found[path] = target
        # A pair whose children correspond corresponds itself, as far up as nothing below contradicts it.
        for path in sorted(found, key=len, reverse=True):
            above_old, above_new = path, found[path]
            while above_old and above_new:
                above_old, above_new = above_old.rpartition(".")[0], above_new.rpartition(".")[0]
                if above_old in found or above_new in found.values():
                    break
                if not (_inside(image[above_old], above_new) and _inside(preimage[above_new], above_old)):
                    break
                found[above_old] = above_new
        self._modules = found
        return found

    def features(self, modules: dict[str, str]) -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
        """Static features and, as features too, the corresponding modules that a tensor lies in."""
        targets = set(modules.values())
        old = {
            key: static | {"in=" + modules[path] for path in parents(key) if path in modules}
            for key, static in self._old_static.items()
        }
        new = {
            key: static | {"in=" + path for path in parents(key) if path in targets}
            for key, static in self._new_static.items()
        }
        return old, new


def _common(path: str | None, key: str) -> str:
    """The deepest module path that holds both `path` and `key`."""
    parent = key.rpartition(".")[0]
    if path is None:
        return parent
    left, right = path.split("."), parent.split(".")
    shared = []
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        shared.append(one)
    return ".".join(shared)


def _inside(path: str, module: str) -> bool:
    return not module or path == module or path.startswith(module + ".")
