"""PolicyArchitecture: the serialisable description from which a policy is built."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from policy_interface.config import Config, canonical_yaml
from policy_interface.errors import InvalidConfigError, Problem

if TYPE_CHECKING:
    from policy_interface.game_rules import GameRules
    from policy_interface.policy import Policy


class PolicyArchitecture(Config, ABC):
    """Base of every architecture: all that shapes a policy's tensors, as data.

    A subclass declares its `kind` and is made known by an entry point of the group
    ``policy_interface.architectures`` whose name is that kind. A checkpoint names the kind and never the class, so a
    class may move inside its package without breaking a file.

    Attributes:
        kind: the stable name of the architecture, snake_case.
        schema_version: the version of its config's schema, raised when a field is renamed, added, removed or changes
            its meaning.
    """

    kind: ClassVar[str]
    schema_version: ClassVar[int] = 1

    @abstractmethod
    def make_policy(self, rules: GameRules) -> Policy:
        """Build the policy, freshly initialised, for these rules.

        Must work under ``torch.device("meta")`` and must not read anything but the config and the rules.

        Raises:
            RulesMismatchError: never; rules that the architecture cannot serve raise InvalidConfigError.
            InvalidConfigError: the rules ask for what this architecture cannot do.
        """

    def resolve(self, rules: GameRules) -> Self:
        """Return the architecture with every derived size written out for these rules.

        The resolved config is what a checkpoint stores: nothing that shapes a tensor may come from later defaults.
        """
        return self

    def to_document(self) -> dict[str, Any]:
        """Return ``{"kind", "schema_version", "config"}`` with every field of the config."""
        return {"kind": self.kind, "schema_version": self.schema_version, "config": self.model_dump(mode="json")}

    def to_yaml(self) -> str:
        """Return the canonical text of ``policy_architecture.yaml``."""
        return canonical_yaml(self.to_document())

    @classmethod
    def from_document(cls, document: Any, *, at: str = "") -> Self:
        """Build the architecture from ``{"kind", "schema_version", "config"}``.

        Raises:
            InvalidConfigError: another kind, another schema version, or a config that does not fit; with every problem.
        """
        problems = _envelope_problems(cls, document)
        if not isinstance(document, Mapping) or "config" not in document:
            raise InvalidConfigError(cls.__name__, problems)
        try:
            architecture = super().from_document(document["config"], at="config")
        except InvalidConfigError as error:  # told together with a wrong version: they explain each other
            raise InvalidConfigError(cls.__name__, [*problems, *error.problems]) from None
        if problems:
            raise InvalidConfigError(cls.__name__, problems)
        return architecture


def _envelope_problems(cls: type[PolicyArchitecture], document: Any) -> list[Problem]:
    if not isinstance(document, Mapping):
        return [
            Problem(
                path="document", message=f"expected a mapping with kind, schema_version, config, got {document!r:.80}"
            )
        ]
    problems = [
        Problem(path=str(key), message="unknown key, expected one of kind, schema_version, config")
        for key in document
        if key not in ("kind", "schema_version", "config")
    ]
    for key, expected in (("kind", cls.kind), ("schema_version", cls.schema_version)):
        if document.get(key) != expected:
            problems.append(Problem(path=key, message=f"expected {expected!r}, got {document.get(key)!r:.80}"))
    if "config" not in document:
        problems.append(Problem(path="config", message="missing"))
    return problems
