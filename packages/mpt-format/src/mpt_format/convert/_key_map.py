r"""Rules that rename the keys of a state dict, as data.

A rules file is YAML: a list of rules, each with `match` (a regular expression for the whole key) and either `to` (the
new key, with `\1` for groups) or `drop` (the reason why the tensor has no place in the new architecture). The first
rule that matches decides. A key that no rule matches is kept, or refused where the file says `unmatched: refuse`.

    unmatched: refuse
    rules:
      - match: mlp_extractor\.policy_net\.(\d+)\.(weight|bias)
        to: actor.\1.\2
      - match: features_extractor\..*
        drop: it has no parameters of its own

Refuses rules that map two keys to one.
"""

from __future__ import annotations

__all__ = ["KeyMap", "find_shipped_map", "parse_key_map", "shipped_maps"]

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

from mpt_format.errors import ConversionError
from mpt_format.strict_yaml import parse_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: what it matches, and what becomes of the key."""

    match: re.Pattern[str]
    to: str | None = None
    drop: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyMap:
    """Ordered rules; `refuse_unmatched` says that every key needs one."""

    rules: tuple[Rule, ...] = ()
    refuse_unmatched: bool = False

    def apply(self, keys: Iterable[str]) -> tuple[dict[str, str], dict[str, str], list[str]]:
        """Rename keys.

        Returns:
            Old key -> new key; old key -> why it is dropped; problems (unmatched keys, two keys with one new name).
        """
        renamed: dict[str, str] = {}
        dropped: dict[str, str] = {}
        problems: list[str] = []
        taken: dict[str, str] = {}
        for key in keys:
            rule = next((rule for rule in self.rules if rule.match.fullmatch(key)), None)
            if rule is None and self.refuse_unmatched:
                problems.append(f"no rule matches the key {key!r}")
                continue
            if rule is not None and rule.drop is not None:
                dropped[key] = rule.drop
                continue
            new = key if rule is None else rule.match.fullmatch(key).expand(rule.to or "")  # type: ignore[union-attr]
            if new in taken:
                problems.append(f"the keys {taken[new]!r} and {key!r} both become {new!r}")
                continue
            taken[new] = key
            renamed[key] = new
        return renamed, dropped, problems


def parse_key_map(data: bytes, *, name: str) -> KeyMap:
    """Read a rules file.

    Raises:
        ConversionError: It is no strict YAML, or not of the shape above; every problem is named.
    """
    document = parse_yaml(data, subject=name)
    problems: list[str] = []
    entries = document.get("rules") if isinstance(document, dict) else document
    unmatched = document.get("unmatched", "keep") if isinstance(document, dict) else "keep"
    if unmatched not in ("keep", "refuse"):
        problems.append(f"unmatched is {unmatched!r}, expected keep or refuse")
    if not isinstance(entries, list):
        raise ConversionError(f"{name}: expected a list of rules, or a mapping with `rules`")
    rules = []
    for at, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("match"), str):
            problems.append(f"rules[{at}]: expected a mapping with `match`")
            continue
        to, drop = entry.get("to"), entry.get("drop")
        if (isinstance(to, str)) == (isinstance(drop, str)):
            problems.append(f"rules[{at}]: expected either `to` or `drop` as text")
            continue
        try:
            pattern = re.compile(str(entry["match"]))
        except re.error as error:
            problems.append(f"rules[{at}].match: {error}")
            continue
        rules.append(
            Rule(match=pattern, to=to if isinstance(to, str) else None, drop=drop if isinstance(drop, str) else None)
        )
    if problems:
        raise ConversionError(f"{name}: " + "; ".join(problems))
    return KeyMap(rules=tuple(rules), refuse_unmatched=unmatched == "refuse")


def shipped_maps() -> list[str]:
    """Names of the rules files that come with this package."""
    folder = files(__package__).joinpath("maps")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def find_shipped_map(name: str) -> KeyMap | None:
    """A shipped rules file by name, or None when there is none of that name."""
    if name not in shipped_maps():
        return None
    data = files(__package__).joinpath("maps", f"{name}.yaml").read_bytes()
    return parse_key_map(data, name=name)
