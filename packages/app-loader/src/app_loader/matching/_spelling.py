"""Read from names in which order parts are joined: `q`, `k`, `v` into `qkv`.

Knows three conventions of neural network code, none of a library: query-key-value come in this order; a name may
spell its parts; and of
three numbered gated layers the two of equal shape around a turned second are gate and up. Everything else is no
reading.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, permutations

from app_loader.matching._names import leaf_role, numbers, parents, pieces, words
from app_loader.matching.signature import TensorInfo

LARGEST_GROUP = 8
"""Groups of more siblings are not searched for parts of a whole."""

LARGEST_JOIN = 4
"""At most so many parts make a whole."""

MOST_WAYS = 256
"""Where more sets of siblings have one sum, the names are not read: something around them is still open."""

_QKV = ("~q", "~k", "~v")
_FUSED_QKV = ("inproj", "cattn", "attn", "wqkv", "attention")


def read_order(
    parts: Sequence[str], whole: str, numbered: Mapping[int, tuple[int, ...]]
) -> tuple[tuple[int, ...] | None, bool]:
    """Order of the parts in the whole.

    Args:
        parts: Keys of the parts.
        whole: Key of the joined tensor.
        numbered: Shapes of the tensors beside the parts that differ from them in their last number, by number.

    Returns:
        Indexes of `parts` in joining order and whether that is certain; (None, False) when the names do not tell.
    """
    text = _text(whole)
    runs = _runs(whole)
    names = [_own_words(part, parts) for part in parts]
    spelled: set[tuple[int, ...]] = set()
    for pick in range(2):
        spellings = [_spelling(name, pick) for name in names]
        if all(spellings):
            orders = permutations(range(len(parts)))
            spelled.update(order for order in orders if "".join(spellings[i] for i in order) in runs)
    if len(spelled) == 1:
        order = spelled.pop()
        return order, not spelled_out(whole)
    roles = [next((role for role in _QKV if role in name), "") for name in names]
    if len(parts) == 3 and set(roles) == set(_QKV):
        return tuple(roles.index(role) for role in _QKV), any(fused in text for fused in _FUSED_QKV)
    return _gated(parts, text, numbered)


def spelled_out(whole: str) -> bool:
    """Whether a joined tensor is called `query_key_value`: some code lays such rows head by head."""
    text = _text(whole)
    return "query" in text and "value" in text


def _text(key: str) -> str:
    return "".join(piece for token in key.split(".")[-2:] for piece in pieces(token) if not piece.isdecimal())


def _runs(key: str) -> frozenset[str]:
    """Whole words at the end of a key, alone and joined to their neighbours; `wqkv` counts as `qkv` too."""
    found: set[str] = set()
    for token in key.split(".")[-2:]:
        run = [piece for piece in pieces(token) if not piece.isdecimal()]
        for start in range(len(run)):
            for end in range(start + 1, len(run) + 1):
                found.add("".join(run[start:end]))
    return frozenset(found | {word[1:] for word in found if word.startswith("w")})


def _gated(
    parts: Sequence[str], text: str, numbered: Mapping[int, tuple[int, ...]]
) -> tuple[tuple[int, ...] | None, bool]:
    own = [numbers(part)[-1:] for part in parts]
    if sorted(own) != [(1,), (3,)] or "gateup" not in text:
        return None, False
    turned = numbered.get(1) == numbered.get(3) and numbered.get(2, ())[-2:] == numbered.get(1, ())[:-3:-1]
    return ((own.index((1,)), own.index((3,))), True) if turned else (None, False)


def _own_words(part: str, parts: Sequence[str]) -> list[str]:
    """Words that this part has and another has not: as written, in order, then as roles."""
    others = [words(other) for other in parts if other != part]
    own = words(part).difference(*others) if others else words(part)
    written = [piece for token in part.split(".")[-2:] for piece in pieces(token) if piece in own]
    return written + sorted(word for word in own if word.startswith("~"))


def _spelling(own: Sequence[str], pick: int) -> str:
    written = [word for word in own if not word.startswith("~")]
    roles = [word[1:] for word in own if word in _QKV]
    if pick == 0:
        return "".join(written)
    return roles[0] if roles else "".join(written)


class Joins:
    """Every way in which tensors that play one part in sibling modules add up along their first axis, by the sum."""

    def __init__(self, tensors: Iterable[TensorInfo], places_of: Callable[[str], object] = lambda _: ()) -> None:
        """Index the sums; only tensors of equal places are added up."""
        groups: dict[tuple[str, str, tuple[int, ...], object], list[TensorInfo]] = defaultdict(list)
        for tensor in tensors:
            if (role := leaf_role(tensor.key)) and tensor.shape:
                groups[_siblings(tensor.key), role, tensor.shape[1:], places_of(tensor.key)].append(tensor)
        self._sums: dict[object, list[tuple[TensorInfo, ...]]] = defaultdict(list)
        for (_, role, rest, places), group in groups.items():
            if len(group) > LARGEST_GROUP:
                continue
            for size in range(2, min(len(group), LARGEST_JOIN) + 1):
                for parts in combinations(group, size):
                    self._sums[role, (sum(part.shape[0] for part in parts), *rest), places].append(parts)

    def of(self, whole: TensorInfo, places: object = ()) -> Sequence[tuple[TensorInfo, ...]]:
        """What adds up to a whole of the same part; nothing when there are too many ways to tell one from another."""
        found = self._sums.get((leaf_role(whole.key), whole.shape, places), ())
        return found if len(found) <= MOST_WAYS else ()


def _siblings(key: str) -> str:
    """The module whose children, or whose own tensors under several names, stand beside a tensor."""
    above = parents(key)
    return above[1] if len(above) > 1 and key.rpartition(".")[2] in ("weight", "bias") else above[0] + "!"
