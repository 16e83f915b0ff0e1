"""What the source of two versions says about renamed attributes, read as syntax trees and never imported.

``self.encoder = nn.Linear(width, width)`` in the one and ``self.stem = nn.Linear(width, width)`` in the other, in a
class of the same
name, is a rename when the right side stands once on each side and the names are gone and new.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from app_loader.code import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeRename:
    """One attribute that took another name.

    Attributes:
        owner: the class.
        old: the name before.
        new: the name after.
        value: the right side, as source.
    """

    owner: str
    old: str
    new: str
    value: str


def read_sources(code: Code, package: str) -> dict[str, str]:
    """Return the Python files of a version's package: relative path to text; none where it has no such package."""
    folder = code.package_folder(package)
    if folder is None:
        return {}
    return {str(path.relative_to(folder)): path.read_text("utf-8") for path in sorted(folder.rglob("*.py"))}


def find_renames(old: Mapping[str, str], new: Mapping[str, str]) -> list[AttributeRename]:
    """Return the attributes whose right side stayed while their name changed, class by class."""
    before, after = _attributes(old), _attributes(new)
    found = []
    for owner, attributes in before.items():
        now = after.get(owner, {})
        gone = {name: value for name, value in attributes.items() if name not in now}
        come = {name: value for name, value in now.items() if name not in attributes}
        counts = Counter(gone.values()), Counter(come.values())
        for name, value in gone.items():
            if counts[0][value] == counts[1][value] == 1:
                target = next(other for other, same in come.items() if same == value)
                found.append(AttributeRename(owner=owner, old=name, new=target, value=value))
    return found


def _attributes(sources: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return class name to attribute to the source of what is assigned to it in any method."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for text in sources.values():
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef):
                continue
            for statement in ast.walk(node):
                if not isinstance(statement, ast.Assign):
                    continue
                for target in statement.targets:
                    if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
                        found[node.name][target.attr] = ast.unparse(statement.value)
    return found
