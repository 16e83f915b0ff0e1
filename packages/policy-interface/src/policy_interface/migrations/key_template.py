"""Key templates: anchored patterns over state-dict keys that can be turned around.

``blocks.{i:int}.attn.{rest...}`` matches a whole key and nothing less: ``{name}`` is one token without a dot,
``{name:int}`` a
number, ``{name...}`` everything that is left. The same names fill the other side, so a rename has an inverse by
construction;
a free regular expression has none, which is why there is none here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from policy_interface.migrations.errors import InvalidMigrationError

_FIELD = re.compile(r"\{([A-Za-z_]\w*)(:int|\.\.\.)?\}")


@dataclass(frozen=True, slots=True)
class KeyTemplate:
    """One template.

    Attributes:
        text: as written.
    """

    text: str

    def __post_init__(self) -> None:
        names = self.names
        bare = _FIELD.sub("", self.text)
        problems = [f"{self.text!r} names {name!r} twice" for name in {n for n in names if names.count(n) > 1}]
        if "{" in bare or "}" in bare:
            problems.append(f"{self.text!r} has a brace that is no {{name}}, {{name:int}} or {{name...}}")
        if problems:
            raise InvalidMigrationError("key template", problems)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its fields, in order."""
        return tuple(found.group(1) for found in _FIELD.finditer(self.text))

    @property
    def is_plain(self) -> bool:
        """Whether it has no field: it is one exact key."""
        return not self.names

    def match(self, key: str) -> dict[str, str] | None:
        """Return the fields of a key that fits whole, else None."""
        found = _compile(self.text).fullmatch(key)
        return None if found is None else found.groupdict()

    def fill(self, fields: dict[str, str]) -> str:
        """Return the key for these fields."""
        return _FIELD.sub(lambda found: fields[found.group(1)], self.text)


@lru_cache(maxsize=4096)
def _compile(text: str) -> re.Pattern[str]:
    parts: list[str] = []
    at = 0
    for found in _FIELD.finditer(text):
        parts.append(re.escape(text[at : found.start()]))
        body = {":int": r"\d+", "...": r".+", None: r"[^.]+"}[found.group(2)]
        parts.append(f"(?P<{found.group(1)}>{body})")
        at = found.end()
    parts.append(re.escape(text[at:]))
    return re.compile("".join(parts))
