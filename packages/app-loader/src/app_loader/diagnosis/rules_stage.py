"""Stage rules: today's game rules beside those that the policy was made for, by name."""

from __future__ import annotations

from collections.abc import Iterator

from policy_interface import GameRules

from app_loader.diagnosis.finding import Finding


def judge_rules(old: GameRules, new: GameRules) -> Iterator[Finding]:
    """Yield every difference by name."""
    for change in old.compare(new).changes:
        harmless = change.subject in ("agents", "tags")
        follows = change.kind in ("renumbered", "rescaled")
        yield Finding(
            stage="rules",
            severity="note" if harmless else "warning" if follows else "error",
            subject=f"{change.subject} {change.name}",
            message=f"{change.subject} {change.name!r} was {change.kind}",
            old=change.old,
            new=change.new,
            evidence=("a policy follows a renumbering or rescaling by name",) if follows else (),
            next_command="load_policy(path, rules=today)" if follows else "",
        )
