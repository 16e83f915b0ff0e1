"""The generic Policy that `load_policy` returns: it delegates to the policy that the archive's code made.

An application sees this class whatever version made the policy; it never needs the model's own class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn

from policy_interface import GameRules, Policy, RulesMismatchError

from app_loader.delegating import DelegatingPolicy
from app_loader.rules_adaptation import adapt_by_name

if TYPE_CHECKING:
    from mpt_format import Manifest

    from app_loader.revisions.route import Route

Mode = Literal["isolated", "environment"]
"""How the code was imported: a stored wheel under an isolated name, or the installed distribution plainly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOrigin:
    """Which code computes a loaded policy, and why that one.

    Attributes:
        distribution: as in ``model-zoo``.
        version: the distribution's version.
        digest: sha256 (hex) of the wheel; None when the installed code came from no wheel (an editable install).
        mode: how the code was imported.
        reason: why this candidate was chosen.
        revisions: ids of the migration revisions applied on the way, oldest first; empty for trained code.
        outside: shared libraries outside the ranges that the code's metadata asks for.
    """

    distribution: str
    version: str
    digest: str | None
    mode: Mode
    reason: str
    revisions: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()

    def __str__(self) -> str:
        pinned = f" sha256:{self.digest[:12]}" if self.digest else ""
        return f"{self.distribution} {self.version}{pinned} ({self.mode}: {self.reason})"


class LoadedPolicy(DelegatingPolicy):
    """A policy together with where it came from.

    Attributes:
        origin: the code that computes it.
        manifest: the archive's manifest.
        content_digest: sha256 (hex) of the archive's content: the parent of whatever is saved from this policy.
        route: the revisions that were followed; None when there were none.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        origin: LoadOrigin,
        manifest: Manifest,
        content_digest: str,
        route: Route | None = None,
    ) -> None:
        super().__init__(policy)
        self.origin = origin
        self.manifest = manifest
        self.content_digest = content_digest
        self.route = route

    def adapt(self, rules: GameRules) -> LoadedPolicy:
        """Return the policy under other rules, with the same origin.

        Raises:
            RulesMismatchError: the rules differ in a way that the policy cannot follow.
        """
        try:
            adapted = self._policy.adapt(rules)  # model code may follow more than names
        except RulesMismatchError as error:
            if not error.comparison.adaptable:
                raise
            adapted = adapt_by_name(self._policy, rules)
        return LoadedPolicy(
            adapted,
            origin=self.origin,
            manifest=self.manifest,
            content_digest=self.content_digest,
            route=self.route,
        )

    def __getattr__(self, name: str) -> NoReturn:
        """Tell whoever takes the policy for a module where the module is."""
        from torch import nn

        hint = f"; a policy is no nn.Module: use policy.module.{name}" if hasattr(nn.Module, name) else ""
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{hint}", name=name, obj=self)

    def __repr__(self) -> str:
        return f"LoadedPolicy({self.architecture.kind}, {self.origin})"
