"""Game rules drawn by hypothesis: every layout, every kind of action."""

from __future__ import annotations

from hypothesis import strategies as st
from policy_interface import (
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
    TokenLayout,
    VectorLayout,
)

names = st.text(min_size=1, max_size=8)
name_lists = st.lists(names, min_size=1, max_size=5, unique=True)
finite = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)
scales = st.floats(min_value=1e-6, max_value=1e6, allow_nan=False)
dtypes = st.sampled_from(["float32", "float16", "bfloat16", "float64", "uint8", "int8", "int16", "int64", "bool"])


@st.composite
def bounds(draw: st.DrawFn) -> tuple[float | None, float | None]:
    ends = sorted(draw(st.lists(finite, min_size=2, max_size=2, unique=True)))
    return draw(st.sampled_from([(None, None), (ends[0], None), (None, ends[1]), (ends[0], ends[1])]))


@st.composite
def features(draw: st.DrawFn, shapes: st.SearchStrategy[tuple[int, ...]]) -> tuple[Feature, ...]:
    found = []
    ids = sorted(draw(st.lists(st.integers(0, 255), min_size=5, max_size=5, unique=True)))
    for name, id_ in zip(draw(name_lists), ids, strict=False):
        low, high = draw(bounds())
        shape, dtype, scale = draw(shapes), draw(dtypes), draw(scales)
        found.append(Feature(name=name, id=id_, shape=shape, dtype=dtype, scale=scale, low=low, high=high))
    return tuple(found)


@st.composite
def continuous(draw: st.DrawFn) -> ContinuousActions:
    dimensions = []
    for id_, name in enumerate(draw(name_lists)):
        low, high = draw(bounds())
        dimensions.append(ContinuousDimension(name=name, id=id_, low=low, high=high))
    return ContinuousActions(dimensions=tuple(dimensions))


@st.composite
def action_spaces(draw: st.DrawFn) -> Actions:
    kind = draw(st.sampled_from(["discrete", "multi_discrete", "continuous"]))
    if kind == "discrete":
        return DiscreteActions.of(*draw(name_lists))
    if kind == "continuous":
        return draw(continuous())
    axes = [
        ActionAxis(name=name, id=id_, choices=DiscreteActions.of(*draw(name_lists)).choices)
        for id_, name in enumerate(draw(name_lists))
    ]
    return MultiDiscreteActions(axes=tuple(axes))


@st.composite
def game_rules(draw: st.DrawFn) -> GameRules:
    shapes = st.lists(st.integers(1, 3), max_size=2).map(tuple)
    kind = draw(st.sampled_from(["vector", "image", "tokens", "dict"]))
    actions = draw(action_spaces())
    tags = tuple(draw(st.lists(names, max_size=3)))
    if kind == "image":
        image = Feature(name="screen", id=0, shape=(3, 4, 5), dtype="uint8", low=0, high=255)
        return GameRules(features=(image,), layout=ImageLayout(), actions=actions, tags=tags)
    if kind == "tokens":
        layout = TokenLayout(tokens=draw(st.integers(1, 9)), height=draw(st.integers(1, 16)), width=3)
        return GameRules(features=draw(features(st.just(()))), layout=layout, actions=actions, tags=tags)
    layout_of = {"vector": VectorLayout(), "dict": DictLayout()}
    return GameRules(features=draw(features(shapes)), layout=layout_of[kind], actions=actions, tags=tags)
