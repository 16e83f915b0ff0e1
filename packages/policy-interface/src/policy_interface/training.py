"""TrainingSpec: what a trainer must keep per step, and what it may touch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy_interface.actions import ContinuousActions, MultiDiscreteActions
from policy_interface.config import Config
from policy_interface.observations import ImageLayout, TokenLayout, VectorLayout
from policy_interface.state import flatten_state

if TYPE_CHECKING:
    from policy_interface.game_rules import GameRules
    from policy_interface.policy import Policy


class TensorSpec(Config):
    """A tensor's shape without its batch axis, and its element type by torch's name."""

    shape: tuple[int, ...]
    dtype: str


class TrainingSpec(Config):
    """What a trainer needs to know of a policy.

    Attributes:
        rollout: what a rollout buffer keeps of every step, by name: ``observation`` (``observation.NAME`` for a dict
            layout), ``action``, the declared capabilities, and ``state.PATH`` for every leaf of the state.
        recurrent: whether there is a state, so that steps must be replayed in order.
        frozen_prefixes: parameters whose names start so are finished and must not be trained.
    """

    rollout: dict[str, TensorSpec]
    recurrent: bool
    frozen_prefixes: tuple[str, ...] = ()


def observation_specs(rules: GameRules) -> dict[str, TensorSpec]:
    """Return the observation tensors of these rules: ``observation``, or one per feature for a dict layout."""
    layout = rules.layout
    if isinstance(layout, VectorLayout):
        return {"observation": TensorSpec(shape=(rules.observation_size,), dtype="float32")}
    if isinstance(layout, TokenLayout):
        return {"observation": TensorSpec(shape=(layout.tokens, 3), dtype="uint8")}
    if isinstance(layout, ImageLayout):
        image = rules.features[0]
        return {"observation": TensorSpec(shape=image.shape, dtype=image.dtype)}
    return {f"observation.{f.name}": TensorSpec(shape=f.shape, dtype=f.dtype) for f in rules.features}


def action_spec(rules: GameRules) -> TensorSpec:
    """Return the action tensor of these rules."""
    actions = rules.actions
    if isinstance(actions, ContinuousActions):
        return TensorSpec(shape=(len(actions.dimensions),), dtype="float32")
    return TensorSpec(shape=(len(actions.axes),) if isinstance(actions, MultiDiscreteActions) else (), dtype="int64")


def capability_shape(capability: str, rules: GameRules) -> tuple[int, ...]:
    """Return the shape, without the batch, of a declared capability's output: () for all but logits."""
    if capability != "logits" or isinstance(rules.actions, ContinuousActions):
        return ()
    return (rules.actions.logit_count,)


def derive_training_spec(policy: Policy, *, frozen_prefixes: tuple[str, ...] = ()) -> TrainingSpec:
    """Return the spec that follows from a policy's rules, capabilities and initial state."""
    leaves = flatten_state(policy.initial_state(1))
    rollout = {**observation_specs(policy.rules), "action": action_spec(policy.rules)}
    for capability in sorted(policy.capabilities):
        rollout[capability] = TensorSpec(shape=capability_shape(capability, policy.rules), dtype="float32")
    for path, leaf in leaves.items():
        name = f"state.{path}" if path else "state"
        rollout[name] = TensorSpec(shape=tuple(leaf.shape[1:]), dtype=str(leaf.dtype).removeprefix("torch."))
    return TrainingSpec(rollout=rollout, recurrent=bool(leaves), frozen_prefixes=frozen_prefixes)
