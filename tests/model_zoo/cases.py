"""Game rules of every shape that the zoo serves, and one small architecture for each."""

from __future__ import annotations

from model_zoo import (
    ConvActorCriticArchitecture,
    ConvLayerConfig,
    MlpActorCriticArchitecture,
    MorphogeneticArchitecture,
    RecurrentCoreConfig,
    SlotConfig,
    TokenEncoderConfig,
    TokenRecurrentArchitecture,
)
from policy_interface import (
    Action,
    ActionAxis,
    Actions,
    ContinuousActions,
    ContinuousDimension,
    DictLayout,
    DiscreteActions,
    Feature,
    GameRules,
    ImageLayout,
    MultiDiscreteActions,
    PolicyArchitecture,
    TokenLayout,
)

ACTIONS: dict[str, Actions] = {
    "discrete": DiscreteActions.of("left", "stay", "right"),
    "multi_discrete": MultiDiscreteActions(
        axes=(
            ActionAxis(name="move", id=0, choices=(Action(name="north", id=0), Action(name="south", id=1))),
            ActionAxis(
                name="hand", id=1, choices=tuple(Action(name=n, id=i) for i, n in enumerate(("take", "put", "none")))
            ),
        )
    ),
    "continuous": ContinuousActions(
        dimensions=(
            ContinuousDimension(name="torque", id=0, low=-2.0, high=2.0),
            ContinuousDimension(name="brake", id=1),
        )
    ),
}

FEATURES = {
    "vector": (
        Feature(name="position", id=0, low=-4.8, high=4.8),
        Feature(name="velocity", id=1, scale=2.0, shape=(2,)),
        Feature(name="angle", id=2),
    ),
    "image": (Feature(name="frame", id=0, shape=(3, 20, 20), dtype="uint8", scale=255.0, low=0, high=255),),
    "tokens": (
        Feature(name="agent", id=1, dtype="uint8", scale=10.0),
        Feature(name="wall", id=4, dtype="uint8"),
        Feature(name="energy", id=9, dtype="uint8", scale=100.0, high=200),
    ),
}


def make_rules(layout: str, actions: str = "discrete") -> GameRules:
    """Return small rules with that layout and that kind of actions."""
    layouts = {"image": ImageLayout(), "tokens": TokenLayout(tokens=12, height=5, width=7), "dict": DictLayout()}
    features = FEATURES["vector" if layout == "dict" else layout]
    if layout == "vector":
        return GameRules(features=features, actions=ACTIONS[actions])
    return GameRules(features=features, actions=ACTIONS[actions], layout=layouts[layout])


SMALL_ENCODER = TokenEncoderConfig(embedding_size=4, coordinate_bands=2, token_size=8, queries=2, attention_heads=2)

CASES: dict[str, tuple[str, PolicyArchitecture]] = {
    "mlp on a vector": ("vector", MlpActorCriticArchitecture(layer_widths=(8,))),
    "mlp on a dict": ("dict", MlpActorCriticArchitecture(layer_widths=(8, 4), activation="relu")),
    "conv": (
        "image",
        ConvActorCriticArchitecture(layers=(ConvLayerConfig(channels=4, kernel_size=5, stride=2),), hidden_size=8),
    ),
    "token with lstm": (
        "tokens",
        TokenRecurrentArchitecture(encoder=SMALL_ENCODER, core=RecurrentCoreConfig(hidden_size=8)),
    ),
    "token with gru": (
        "tokens",
        TokenRecurrentArchitecture(encoder=SMALL_ENCODER, core=RecurrentCoreConfig(cell="gru", hidden_size=8)),
    ),
    "morphogenetic, dormant": ("image", MorphogeneticArchitecture(channels=(4, 6, 8))),
    "morphogenetic, germinated": (
        "image",
        MorphogeneticArchitecture(
            channels=(4, 6, 8),
            early=SlotConfig(blueprint="depthwise"),
            mid=SlotConfig(blueprint="bottleneck", width=3),
            late=SlotConfig(blueprint="squeeze", width=2),
        ),
    ),
}
