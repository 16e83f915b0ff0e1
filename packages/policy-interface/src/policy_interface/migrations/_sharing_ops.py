"""Keys begin and cease to share one tensor."""

from __future__ import annotations

from dataclasses import dataclass

from policy_interface.migrations._frame import Coming, irreversible


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias(Coming):
    """A key begins to share the tensor of another one.

    Attributes:
        key: the new key.
        of: the key whose tensor it shows.
    """

    key: str
    of: str

    def inverted(self) -> Unalias:
        """Return the removal of the alias."""
        return Unalias(key=self.key, of=self.of, keep=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unalias:
    """A key stops sharing a tensor: it keeps a copy, or goes.

    Attributes:
        key: the alias.
        of: the key that it shares with.
        keep: whether the key stays, with numbers of its own.
    """

    key: str
    of: str
    keep: bool

    @property
    def consumes(self) -> tuple[str, ...]:
        """The alias."""
        return (self.key,)

    @property
    def produces(self) -> tuple[str, ...]:
        """The key, where it stays."""
        return (self.key,) if self.keep else ()

    def inverted(self) -> Alias:
        """Return the sharing; refused for a kept key: the two may have been trained apart."""
        if self.keep:
            raise irreversible(self, f"{self.key} and {self.of} may have been trained apart since")
        return Alias(key=self.key, of=self.of)
