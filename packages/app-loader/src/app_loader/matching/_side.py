"""One signature with its indexes: what can be asked of a tensor of one tree, whatever the other tree holds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from app_loader.matching._families import template
from app_loader.matching._names import leaf_role, numbers, parents, pattern, words
from app_loader.matching.signature import TensorInfo

TensorClass = tuple[tuple[int, ...], str]
TensorPart = tuple[TensorClass, str]


class Side:
    """One signature with its indexes."""

    def __init__(self, tensors: Sequence[TensorInfo], tied: Sequence[Sequence[str]]) -> None:
        ordered = sorted(enumerate(tensors), key=lambda item: (item[1].order, item[0]))
        self.tensors = [tensor for _, tensor in ordered]
        self.by_key = {tensor.key: tensor for tensor in self.tensors}
        self.rank = {tensor.key: index for index, tensor in enumerate(self.tensors)}
        self.shapes = Counter(tensor.shape for tensor in self.tensors)
        self.tied_with: dict[str, tuple[str, ...]] = {}
        for group in tied:
            known = tuple(sorted((key for key in group if key in self.by_key), key=self.rank.__getitem__))
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
            if name.isdecimal():
                self.numbered[above].add(name)
        self.unit_of = {
            key: shapes
            for members in units.values()
            for shapes in [tuple((t.shape, t.kind) for t in members)]
            for key in [t.key for t in members]
        }
        self.owned = defaultdict(list, {path: [t.key for t in members] for path, members in units.items()})
        self._leaves = {path: tuple(t.key[len(path) :] for t in members) for path, members in units.items()}
        self.statistics = sum(t.key.endswith("running_mean") for t in self.tensors)
        self.count_alike_by = Counter((pattern(t.key), t.module_type) for t in self.tensors)
        self.count_in_lists_by = Counter((template(t.key), t.module_type) for t in self.tensors)
        self.count_class_by = Counter((pattern(t.key), t.shape, t.kind) for t in self.tensors)
        self._numbered: dict[tuple[str, tuple[int, ...]], dict[int, tuple[int, ...]]] = {}
        self._akin: dict[str, Mapping[frozenset[str], int]] = {}
        self._kinds_below: dict[str, frozenset[str]] = {}
        self._names_below: dict[str, int] = {}
        self._names: dict[frozenset[tuple[str, str]], int] = {}

    def leads(self, key: str, matched: Mapping[str, str]) -> bool:
        """Whether a tensor is its own, or the first of those that share it while none of them is matched."""
        mates = self.tied_with.get(key, ())
        return not mates or (key == mates[0] and not any(mate in matched for mate in mates))

    def count_alike(self, key: str) -> int:
        """How many tensors, itself included, differ in numbers only and belong to modules of its type."""
        return self.count_alike_by[pattern(key), self.by_key[key].module_type]

    def count_in_lists(self, key: str) -> int:
        """How many tensors, itself included, differ in places in lists only and belong to modules of its type."""
        return self.count_in_lists_by[template(key), self.by_key[key].module_type]

    def shapes_beside(self, key: str) -> Mapping[int, tuple[int, ...]]:
        """Shapes of the tensors that differ from a tensor in their last number only, by that number."""
        if not self._numbered:
            for tensor in self.tensors:
                if found := numbers(tensor.key):
                    rest = pattern(tensor.key), found[:-1]
                    self._numbered.setdefault(rest, {})[found[-1]] = tensor.shape
        return self._numbered.get((pattern(key), numbers(key)[:-1]), {}) if numbers(key) else {}

    def list_sizes(self, key: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """For every numbered list of module trees around a tensor, outermost first: its length, and its elements akin.

        Elements are akin when the kinds of module below them are mostly the same, whatever their names and shapes.
        """
        elements = [
            path
            for path in reversed(parents(key))
            if path.rpartition(".")[2].isdecimal() and key.count(".") > path.count(".") + 1
        ]
        lengths = tuple(len(self.numbered[path.rpartition(".")[0]]) for path in elements)
        return lengths, tuple(self._count_akin(path) for path in elements)

    def list_lengths(self, key: str) -> tuple[int, ...]:
        """Lengths of the numbered lists around a tensor, outermost first; that of its own module too."""
        elements = [path for path in reversed(parents(key)) if path.rpartition(".")[2].isdecimal()]
        return tuple(len(self.numbered[path.rpartition(".")[0]]) for path in elements)

    def _count_akin(self, element: str) -> int:
        above = element.rpartition(".")[0]
        if above not in self._akin:
            siblings = [f"{above}.{name}" if above else name for name in self.numbered[above]]
            counts = Counter(self._kinds(path) for path in siblings)
            self._akin[above] = {
                mine: sum(count for other, count in counts.items() if 2 * len(mine & other) >= len(mine | other))
                for mine in counts
            }
        # At least itself: `.0` and `0` both have the root above them, and only the second is in its list.
        return self._akin[above].get(self._kinds(element), 1)

    def _kinds(self, path: str) -> frozenset[str]:
        if path not in self._kinds_below:
            self._kinds_below[path] = frozenset(
                self.by_key[key].module_type or key.rpartition(".")[2] for key in self.below[path]
            )
        return self._kinds_below[path]

    def element_names(self, key: str) -> tuple[int, ...]:
        """For every numbered module above a tensor, a number for the names and types of the tensors below it."""
        found = []
        for path in parents(key):
            if not path.rpartition(".")[2].isdecimal():
                continue
            if path not in self._names_below:
                names = frozenset(
                    (template(below[len(path) + 1 :]), self.by_key[below].module_type)
                    for below in self.below[path]
                    if self.by_key[below].kind == "parameter"
                )
                self._names_below[path] = self._names.setdefault(names, len(self._names))
            found.append(self._names_below[path])
        return tuple(found)

    def has_matrix(self, key: str) -> bool:
        """Whether the module that owns a tensor owns one with two axes or more."""
        return any(len(shape) > 1 for shape, _ in self.unit_of[key])

    def unit_keys_of(self, key: str) -> tuple[str, ...]:
        """Names of the tensors of the module that owns a tensor."""
        return self._leaves[key.rpartition(".")[0]]

    def part_of(self, key: str) -> object:
        """What tensors share that play one part in list elements of one make: template, class, names beside them."""
        return template(key), self.class_of(key), self.element_names(key)

    def class_of(self, key: str) -> TensorClass:
        """Shape and kind: only tensors of one class can be copies of each other."""
        tensor = self.by_key[key]
        return tensor.shape, tensor.kind

    def role_in_class(self, key: str) -> TensorPart:
        """Its class, and whether it is the scale or the shift of its module: a normalisation has one of each."""
        return self.class_of(key), leaf_role(key)

    def static_features(self, key: str) -> frozenset[str]:
        """What a tensor can be told apart by: words of its key, words of its module's type, the shapes beside it."""
        tensor = self.by_key[key]
        found = set(words(key))
        if tensor.module_type:
            found.add("type=" + tensor.module_type)
            found.update("type:" + word for word in words(tensor.module_type))
        found.add(f"unit={self.unit_of[key]}")
        return frozenset(found)
