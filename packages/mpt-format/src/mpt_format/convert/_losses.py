"""What a conversion says of itself: what became different, and what has no form at all.

Values only; nothing is converted here.
"""

from __future__ import annotations

__all__ = ["Loss", "Refused", "check_text"]

from dataclasses import dataclass

from mpt_format.strict_json import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One thing that the output does not say the way the source did: where, what it was, what became of it."""

    path: str
    was: str
    became: str

    def to_json(self) -> dict[str, Json]:
        """The loss as JSON values."""
        return {"path": self.path, "was": self.was, "became": self.became}


class Refused(Exception):
    """A node has no JSON form; the text says why."""


def check_text(text: str) -> str:
    """Text as it is, or with its lone surrogates spelled out."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text
