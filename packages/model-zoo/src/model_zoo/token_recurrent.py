"""token_recurrent: a policy with memory over sets of (location, feature id, value) tokens."""

from __future__ import annotations

from typing import ClassVar

from policy_interface import GameRules, InvalidConfigError, PolicyArchitecture, Problem, State
from policy_interface.policy import Observation
from torch import Tensor

from model_zoo._derive import action_size, fill_derived, refuse_layout
from model_zoo._policy import Encoding, ZooPolicy
from model_zoo.recurrent_core import RecurrentCore, RecurrentCoreConfig
from model_zoo.token_encoder import TokenEncoder, TokenEncoderConfig


class TokenRecurrentArchitecture(PolicyArchitecture):
    """Token encoder, recurrent core, two heads.

    Attributes:
        encoder: of the token set.
        core: the memory.
        vocabulary: derived: the features' names; a name's place is its row of the embedding.
        action_size: derived: outputs of the action head.
    """

    kind: ClassVar[str] = "token_recurrent"
    schema_version: ClassVar[int] = 1

    encoder: TokenEncoderConfig = TokenEncoderConfig()
    core: RecurrentCoreConfig = RecurrentCoreConfig()
    vocabulary: tuple[str, ...] | None = None
    action_size: int | None = None

    def resolve(self, rules: GameRules) -> TokenRecurrentArchitecture:
        """Return the config with the vocabulary and the action's size.

        A vocabulary that is already there stays as it is, so that rules with other ids or another order fit it; they
        must have the same names.

        Raises:
            InvalidConfigError: no token layout, other feature names, or another size already.
        """
        refuse_layout(self.kind, rules, "tokens")
        names = tuple(feature.name for feature in rules.features)
        vocabulary = names if self.vocabulary is None else self.vocabulary
        if sorted(vocabulary) != sorted(names):
            differing = sorted(set(vocabulary) ^ set(names))
            message = f"the game rules have other features; only on one side: {', '.join(differing) or 'doubled names'}"
            raise InvalidConfigError(type(self).__name__, [Problem(path="vocabulary", message=message)])
        if self.encoder.token_size % self.encoder.attention_heads:
            message = f"must divide token_size {self.encoder.token_size}, got {self.encoder.attention_heads}"
            raise InvalidConfigError(type(self).__name__, [Problem(path="encoder.attention_heads", message=message)])
        return fill_derived(self, {"vocabulary": vocabulary, "action_size": action_size(rules)})

    def make_policy(self, rules: GameRules) -> TokenRecurrent:
        """Build the policy; see `PolicyArchitecture.make_policy`."""
        return TokenRecurrent(self.resolve(rules), rules)


class TokenRecurrent(ZooPolicy):
    """Reads uint8 [batch, token, 3]. Its state is the core's: ``hidden`` and, for an LSTM, ``cell``."""

    def __init__(self, architecture: TokenRecurrentArchitecture, rules: GameRules) -> None:
        super().__init__(architecture, rules)
        assert architecture.vocabulary is not None
        self.encoder = TokenEncoder(architecture.encoder, architecture.vocabulary, rules)
        self.core = RecurrentCore(architecture.core, architecture.encoder.output_size)
        self._add_heads(architecture.core.hidden_size)

    def encode(self, observation: Observation, state: State) -> Encoding:
        """Return the core's output, the same for both heads, and its next state."""
        assert isinstance(observation, Tensor)
        features, next_state = self.core(self.encoder(observation), state)
        return Encoding(features, features, next_state)

    def initial_state(self, batch_size: int) -> State:
        """Return zeros, float32 [batch, hidden_size] each."""
        return self.core.initial_state(batch_size)
