"""What is known while matching: both signatures, their indexes, and the matches made so far.

Refuses to decide anything: the phases (`exact`, `context`, `composite`) read it and record their matches here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import TypeVar

from app_loader.matching._families import Family, alone, find_families, template
from app_loader.matching._names import leaf_role, numbers, parents, pattern, words
from app_loader.matching.signature import Match, TensorInfo

TensorClass = tuple[tuple[int, ...], str]
TensorPart = tuple[TensorClass, str]
Cell = TypeVar("Cell", TensorClass, TensorPart)


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


class Scope(Enum):
    """What is matched as one."""

    LIST = auto()
    ONE_SHAPE = auto()
    TENSOR = auto()


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
        self.moved: set[str] = set()
        self.old_families: dict[str, Family] = {}
        self.new_families: dict[str, Family] = {}
        self._modules: dict[str, str] = {}
        self._residue: list[dict[str, Counter[TensorClass]]] = [{}, {}]
        self._residue_parts: list[dict[str, Counter[TensorPart]]] = [{}, {}]
        self._parts: tuple[dict[object, set[str]], dict[object, set[str]]] = defaultdict(set), defaultdict(set)
        self._rules: tuple[dict[str, set[str]], dict[str, set[str]]] = defaultdict(set), defaultdict(set)

    def accept(self, new: str, old: str, *evidence: str) -> None:
        """Record a match that is certain."""
        self.source[new] = old
        self.taken[old] = new
        self.evidence[new] = evidence
        self._rules[0][template(old)].add(template(new))
        self._rules[1][template(new)].add(template(old))
        self._parts[0][self.old.part_of(old)].add(template(new))
        self._parts[1][self.new.part_of(new)].add(template(old))

    def accept_composite(self, match: Match, sources: Iterable[str]) -> None:
        """Record a certain match that is made of other than one equal tensor."""
        self.composites[match.new] = match
        for key in sources:
            self.taken[key] = match.new

    def open_old(self) -> list[str]:
        """Old keys without a match, one of each group that shares a tensor; a key tied to a matched one is not open."""
        return [t.key for t in self.old.tensors if t.key not in self.taken and self.old.leads(t.key, self.taken)]

    def open_new(self) -> list[str]:
        """New keys without a match, one of each group that shares a tensor; a key tied to a matched one is not open."""
        return [t.key for t in self.new.tensors if self.is_open(t.key) and self.new.leads(t.key, self.source)]

    def learned(self, old: str, new: str) -> bool:
        """Whether keys that differ from these in list numbers only were matched, and never to anything else."""
        forms = template(old), template(new)
        return self._rules[0].get(forms[0]) == {forms[1]} and self._rules[1].get(forms[1]) == {forms[0]}

    def contradicts_learned(self, old: str, new: str) -> bool:
        """Whether a tensor that differs from either in list numbers only, of its class, was matched to another part."""
        one, other = template(old), template(new)
        taken = self._parts[0].get(self.old.part_of(old), {other})
        given = self._parts[1].get(self.new.part_of(new), {one})
        return taken != {other} or given != {one}

    def may_be_folded(self, old: str, new: str) -> bool:
        """Whether a normalisation may have gone into a matrix: its module has a shift now, and statistics went."""
        if len(self.old.by_key[old].shape) < 2 or self.new.statistics >= self.old.statistics:
            return False
        return ".bias" in self.new.unit_keys_of(new) and ".bias" not in self.old.unit_keys_of(old)

    def is_open(self, new: str) -> bool:
        """Whether nothing certain gives a new tensor yet."""
        return new not in self.source and new not in self.composites

    def group(self, scope: Scope) -> None:
        """Group what is open on both sides into families, or let every tensor stand alone."""
        sides = ((self.old, self.open_old()), (self.new, self.open_new()))
        if scope is Scope.TENSOR:
            self.old_families, self.new_families = (alone(*side) for side in sides)
        else:
            one_shape = scope is Scope.ONE_SHAPE
            self.old_families, self.new_families = (find_families(*side, one_shape=one_shape) for side in sides)
        self.count_residue()

    def count_residue(self) -> None:
        """Count anew what is open below every module, by class and by part."""
        for slot, (side, families) in enumerate(((self.old, self.old_families), (self.new, self.new_families))):
            left: dict[str, Counter[TensorClass]] = defaultdict(Counter)
            parts: dict[str, Counter[TensorPart]] = defaultdict(Counter)
            for family in families.values():
                for key in family.keys:
                    if key in (self.taken, self.source)[slot] or key in self.composites:
                        continue
                    for path in parents(key):
                        left[path][side.class_of(key)] += 1
                        parts[path][side.role_in_class(key)] += 1
            self._residue[slot] = left
            self._residue_parts[slot] = parts

    def is_sole(self, new: str, old: str, path: str) -> bool:
        """Whether nothing but the family is open below the modules that stand for `path`, of each member's class.

        The weight and the bias of a normalisation are of one class; each is alone when it is the only one of its role.
        """
        return self._is_sole(new, old, path, self._residue, Side.class_of) or (
            leaf_role(new) == leaf_role(old) != ""
            and self._is_sole(new, old, path, self._residue_parts, Side.role_in_class)
        )

    def _is_sole(
        self,
        new: str,
        old: str,
        path: str,
        residue: Sequence[Mapping[str, Counter[Cell]]],
        cell_of: Callable[[Side, str], Cell],
    ) -> bool:
        target = self.corresponding(path)
        tops: tuple[Counter[tuple[str, Cell]], Counter[tuple[str, Cell]]] = Counter(), Counter()
        for key, source in self.members(new, old):
            tops[0][_top(source, path), cell_of(self.old, source)] += 1
            tops[1][_top(key, target), cell_of(self.new, key)] += 1
        return all(
            left[top][cell] == count
            for left, counts in zip(residue, tops, strict=True)
            for (top, cell), count in counts.items()
        )

    def is_closed(self, new: str, old: str, path: str) -> bool:
        """Whether the modules that stand for `path` have the same classes left: nothing came or went."""
        target = self.corresponding(path)
        tops = {(_top(source, path), _top(key, target)) for key, source in self.members(new, old)}
        return all(self._residue[0][one] == self._residue[1][other] for one, other in tops)

    def equally_many(self, old: str, new: str) -> bool:
        """Whether both sides have as many tensors that differ from these in numbers only: of a list, of its shape."""
        if self.old.count_alike(old) == self.new.count_alike(new):
            return True
        if self.old.count_in_lists(old) == self.new.count_in_lists(new) and len(self.old_families[old].keys) > 1:
            return True  # `norm_1` and `norm_2` differ in a number and are no list
        lengths, wanted = self.old.list_lengths(old), self.new.list_lengths(new)
        shared = min(len(lengths), len(wanted))
        if not shared or lengths[:shared] != wanted[:shared] or len(self.old_families[old].keys) == 1:
            return False
        before = self.old.count_class_by[pattern(old), *self.old.class_of(old)]
        after = self.new.count_class_by[pattern(new), *self.new.class_of(new)]
        return before == after

    def same_places(self, old: str, new: str) -> bool:
        """Whether two families can be one another."""
        before, after = self.old_families[old], self.new_families[new]
        return before.places == after.places and before.shapes == after.shapes

    def members(self, new: str, old: str) -> list[tuple[str, str]]:
        """The pairs (new, old) that a pair of families stands for."""
        return list(zip(self.new_families[new].keys, self.old_families[old].keys, strict=True))

    def members_correspond(self, new: str, old: str, path: str) -> bool:
        """Whether, for every member, the module that stands for `path` corresponds as `path` does."""
        return all(self.corresponds(source, key, path) for key, source in self.members(new, old))

    def corresponds(self, old: str, new: str, path: str) -> bool:
        """Whether the module that stands above an old key as `path` does corresponds to the one above the new key."""
        return not path or self._modules.get(_top(old, path)) == _top(new, self.corresponding(path))

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
        return next((path for path in parents(key) if any(c.isdecimal() for c in path.rpartition(".")[2])), key)

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
        targets = set(found.values())
        for path in sorted(found, key=len, reverse=True):
            above_old, above_new = path, found[path]
            while above_old and above_new:
                above_old, above_new = above_old.rpartition(".")[0], above_new.rpartition(".")[0]
                if above_old in found or above_new in targets:
                    break
                if not (_inside(image[above_old], above_new) and _inside(preimage[above_new], above_old)):
                    break
                found[above_old] = above_new
                targets.add(above_new)
        self._modules = found
        return found


class Features:
    """Static features of tensors and, as features too, the corresponding modules that they lie in; made when asked."""

    def __init__(self, side: Side, names: Mapping[str, str]) -> None:
        self._side = side
        self._names = names
        self._known: dict[str, frozenset[str]] = {}

    def __getitem__(self, key: str) -> frozenset[str]:
        if key not in self._known:
            inside = {"in=" + self._names[path] for path in parents(key) if path in self._names}
            self._known[key] = self._side.static_features(key) | inside
        return self._known[key]


def features(state: State, modules: Mapping[str, str]) -> tuple[Features, Features]:
    """Return the features of both sides under a correspondence of modules."""
    return Features(state.old, modules), Features(state.new, {target: target for target in modules.values()})


def _top(key: str, like: str) -> str:
    """As many tokens of a key as a path has."""
    return ".".join(key.split(".")[: like.count(".") + 1]) if like else ""


def _common(path: str | None, key: str) -> str:
    """The deepest module path that holds both `path` and `key`."""
    parent = key.rpartition(".")[0]
    if path is None or path == parent:
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
