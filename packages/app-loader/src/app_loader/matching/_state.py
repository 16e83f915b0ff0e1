"""What is known while matching: both signatures and the matches made so far.

Refuses to decide anything: the phases (`exact`, `context`, `composite`) read it and record their matches here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import TypeVar

from app_loader.matching._families import Family, alone, find_families, template
from app_loader.matching._names import leaf_role, parents, pattern
from app_loader.matching._side import Side, TensorClass, TensorPart
from app_loader.matching.signature import Match

Cell = TypeVar("Cell", TensorClass, TensorPart)


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
