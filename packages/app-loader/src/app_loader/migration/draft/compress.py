"""From many matches to few anchored rules: they give exactly these matches, and their inverses give them back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from policy_interface.migrations import InvalidMigrationError, KeyTemplate, Rename

_TOKEN_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def compress_renames(renamed: Mapping[str, str], old_keys: Sequence[str], new_keys: Sequence[str]) -> list[Rename]:
    """Return few renames that move exactly these keys.

    Args:
        renamed: old key to new key; keys that keep their name are not in it.
        old_keys: every key before.
        new_keys: every key after.
    """
    left = dict(renamed)
    rules: list[Rename] = []
    while left:
        best = max(
            _candidates(left, old_keys, new_keys), key=lambda rule: (len(_moved(rule, old_keys)), -len(rule.old))
        )
        rules.append(best)
        for key in _moved(best, old_keys):
            left.pop(key, None)
    return rules


def _candidates(left: Mapping[str, str], old_keys: Sequence[str], new_keys: Sequence[str]) -> list[Rename]:
    key, target = next(iter(left.items()))
    found = [Rename(old=key, new=target)]
    one, other = key.split("."), target.split(".")
    for kept in range(1, min(len(one), len(other))):
        if one[-kept:] != other[-kept:]:
            break
        heads = ".".join(one[:-kept]), ".".join(other[:-kept])
        if not all(heads):
            continue
        tail = "{leaf}" if kept == 1 else "{rest...}"
        for old, new in {(f"{heads[0]}.{tail}", f"{heads[1]}.{tail}"), _numbered(*heads, tail)}:
            try:
                rule = Rename(old=old, new=new)
            except InvalidMigrationError:
                continue
            if _exact(rule, left, old_keys, new_keys):
                found.append(rule)
    return found


def _numbered(old: str, new: str, tail: str) -> tuple[str, str]:
    """Turn the numbers that both sides have in common into fields."""
    numbers = _TOKEN_NUMBER.findall(f".{old}."), _TOKEN_NUMBER.findall(f".{new}.")
    if not numbers[0] or numbers[0] != numbers[1]:
        return f"{old}.{tail}", f"{new}.{tail}"
    return tuple(f"{_fields(side)}.{tail}" for side in (old, new))  # type: ignore[return-value]


def _fields(path: str) -> str:
    names = iter("ijkmnpqr")
    return ".".join(f"{{{next(names)}:int}}" if token.isdigit() else token for token in path.split("."))


def _moved(rule: Rename, keys: Sequence[str]) -> dict[str, str]:
    old, new = KeyTemplate(rule.old), KeyTemplate(rule.new)
    return {key: new.fill(fields) for key in keys if (fields := old.match(key)) is not None}


def _exact(rule: Rename, wanted: Mapping[str, str], old_keys: Sequence[str], new_keys: Sequence[str]) -> bool:
    moved = _moved(rule, old_keys)
    back = _moved(rule.inverted(), new_keys)
    return all(wanted.get(key) == target for key, target in moved.items()) and set(back) == set(moved.values())
