"""The matcher against drift that is made to mislead, and signatures at the edges of what there is."""

from __future__ import annotations

import random
from collections.abc import Sequence

from app_loader.matching import Match, TensorInfo, match_tensors
from app_loader.matching._spelling import Joins
from harder_trees import make_hard_case
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

Row = tuple[str, tuple[int, ...], str]


def signature(*rows: Row) -> list[TensorInfo]:
    return [
        TensorInfo(key=key, shape=shape, dtype="float32", module_type=kind, order=i)
        for i, (key, shape, kind) in enumerate(rows)
    ]


def linear(path: str, out: int, inp: int, kind: str = "Linear") -> list[Row]:
    return [(f"{path}.weight", (out, inp), kind), (f"{path}.bias", (out,), kind)]


def norm(path: str, width: int, kind: str = "LayerNorm") -> list[Row]:
    return [(f"{path}.weight", (width,), kind), (f"{path}.bias", (width,), kind)]


def by_key(matches: Sequence[Match]) -> dict[str, Match]:
    return {match.new: match for match in matches}


def certain(matches: Sequence[Match]) -> dict[str, object]:
    return {match.new: match.old for match in matches if match.confidence == "auto"}


def wrong_in(seed: int) -> list[Match]:
    old, new, truth = make_hard_case(random.Random(seed))
    return [m for m in match_tensors(old, new) if m.confidence == "auto" and truth[m.new] != (m.op, m.old)]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1))
def test_no_certain_match_is_wrong_when_drift_is_made_to_mislead(seed: int) -> None:
    assert wrong_in(seed) == []


def test_a_layer_that_shifted_to_a_used_name_while_matrices_were_turned_is_left_open() -> None:
    assert [wrong_in(seed) for seed in (129, 549, 897)] == [[], [], []]


def test_a_normalisation_that_moved_into_a_list_may_be_another_one() -> None:
    assert wrong_in(762) == []


def _tensor(key: str, shape: tuple[int, ...]) -> TensorInfo:
    return TensorInfo(key=key, shape=shape, kind="parameter", module_type="")


keys = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12), min_size=1, max_size=5
).map(".".join)
tensors = st.builds(
    lambda key, shape, kind, module: TensorInfo(key=key, shape=tuple(shape), kind=kind, module_type=module),
    keys,
    st.lists(st.sampled_from((1, 2, 3)), max_size=3),
    st.sampled_from(("parameter", "buffer")),
    st.sampled_from(("", "Linear", "Conv1D", "9")),
)
trees = st.lists(tensors, max_size=12, unique_by=lambda tensor: tensor.key)


@settings(max_examples=200, deadline=None)
@given(old=trees, new=trees)
@example(old=[_tensor("", ()), _tensor(".0..", (1, 1, 1))], new=[_tensor("", (1, 1, 1))])
def test_whatever_the_keys_hold_every_new_tensor_gets_one_answer_that_fits(
    old: list[TensorInfo], new: list[TensorInfo]
) -> None:
    shapes = {tensor.key: tensor.shape for tensor in old}
    matches = match_tensors(old, new)
    assert [match.new for match in matches] == [tensor.key for tensor in new]
    for match, tensor in zip(matches, new, strict=True):
        if match.op == "copy" and isinstance(match.old, str):
            assert shapes[match.old] == tensor.shape
        assert set(match.candidates) <= set(shapes)


@settings(max_examples=100, deadline=None)
@given(tree=trees)
def test_a_tree_matched_to_itself_never_moves_a_tensor(tree: list[TensorInfo]) -> None:
    assert all(match.old in (match.new, None) for match in match_tensors(tree, tree) if match.confidence == "auto")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1))
def test_no_old_tensor_is_copied_twice(seed: int) -> None:
    old, new, _ = make_hard_case(random.Random(seed))
    copied = [match.old for match in match_tensors(old, new) if match.confidence == "auto" and match.op == "copy"]
    assert len(copied) == len(set(copied))


def test_an_empty_signature_has_nothing_to_match() -> None:
    tree = signature(*linear("a", 2, 3))
    assert match_tensors([], []) == []
    assert match_tensors(tree, []) == []
    assert {match.confidence for match in match_tensors([], tree)} == {"abstain"}


def test_one_tensor_under_its_own_name_is_matched_and_under_another_is_not() -> None:
    one, other = signature(("a.weight", (2, 3), "Linear")), signature(("b.weight", (2, 3), "Linear"))
    assert certain(match_tensors(one, one)) == {"a.weight": "a.weight"}
    assert certain(match_tensors(one, other)) == {}


def test_equal_shapes_everywhere_are_matched_by_name_only() -> None:
    names = ("query", "key", "value", "out", "gate", "up")
    old = signature(*((f"attn.{name}.weight", (8, 8), "Linear") for name in names))
    new = signature(*((f"attn.{name}.weight", (8, 8), "Linear") for name in reversed(names)))
    found = certain(match_tensors(old, new))
    assert all(match == key for key, match in found.items())


def test_unknown_module_types_and_kinds_are_no_obstacle_to_an_unchanged_tree() -> None:
    tree = [TensorInfo(key=f"layers.{i}.weight", shape=(4, 4), order=i) for i in range(5)]
    assert len(certain(match_tensors(tree, tree))) == 5


def test_a_deep_path_is_followed() -> None:
    path = ".".join(f"level{i}" for i in range(120))
    old, new = signature(*linear(f"{path}.fc", 4, 3)), signature(*linear(f"wrapped.{path}.fc", 4, 3))
    assert certain(match_tensors(old, new)) == {f"wrapped.{t.key}": t.key for t in old}


def test_a_special_case_of_a_class_keeps_the_axes_of_its_squares() -> None:
    old = signature(*linear("attn.out_proj", 8, 8, "NonDynamicallyQuantizableLinear"))
    new = signature(*linear("attn.out_proj", 8, 8))
    assert certain(match_tensors(old, new)) == {t.key: t.key for t in old}


def test_a_tensor_beside_which_its_parts_came_may_be_there_in_name_only() -> None:
    rows: list[Row] = [("attn.in_proj_weight", (24, 8), "Attention"), ("attn.in_proj_bias", (24,), "Attention")]
    parts = [row for name in "QKV" for row in linear(f"attn.linear_{name}", 8, 8)]
    found = by_key(match_tensors(signature(*rows), signature(*rows, *parts)))
    assert found["attn.in_proj_weight"].confidence == "abstain"
    assert (found["attn.linear_K.weight"].op, found["attn.linear_K.weight"].start) == ("slice", 8)


def test_rows_whose_name_was_spelled_out_may_be_laid_head_by_head() -> None:
    old = signature(*(row for i in range(3) for row in linear(f"layers.{i}.attention.query_key_value", 24, 8)))
    new = signature(*(row for i in range(3) for row in linear(f"layers.{i}.attention.qkv", 24, 8)))
    assert certain(match_tensors(old, new)) == {}


def blocks(*parts: list[Row]) -> list[TensorInfo]:
    return signature(
        *((f"blocks.{i}.{key}", shape, kind) for i in range(3) for part in parts for key, shape, kind in part)
    )


def test_repeated_twins_are_told_apart_by_the_number_in_their_names() -> None:
    old = blocks(norm("ln_1", 8), linear("fc", 32, 8), norm("ln_2", 8))
    new = blocks(norm("layer_norm1", 8), linear("fc", 32, 8), norm("layer_norm2", 8))
    assert certain(match_tensors(old, new))["blocks.1.layer_norm2.bias"] == "blocks.1.ln_2.bias"


def test_repeated_twins_whose_numbers_moved_are_left_open() -> None:
    old = blocks(norm("ln_1", 8), linear("fc", 32, 8), norm("ln_2", 8))
    new = blocks(norm("layer_norm2", 8), linear("fc", 32, 8), norm("layer_norm3", 8))
    assert not any("norm" in key for key in certain(match_tensors(old, new)))


def test_repeated_twins_are_told_apart_by_what_they_stand_beside() -> None:
    old = blocks(norm("attention.output.LayerNorm", 8), linear("fc", 32, 8), norm("output.LayerNorm", 8))
    new = blocks(norm("attn_residual_norm", 8), linear("fc", 32, 8), norm("ffn_residual_norm", 8))
    found = certain(match_tensors(old, new))
    assert found["blocks.0.attn_residual_norm.weight"] == "blocks.0.attention.output.LayerNorm.weight"
    assert found["blocks.2.ffn_residual_norm.bias"] == "blocks.2.output.LayerNorm.bias"


def test_repeated_twins_without_a_telling_word_are_suggested_in_their_order() -> None:
    old = blocks(norm("norm1", 8), linear("fc", 32, 8), norm("norm2", 8))
    new = blocks(norm("before", 8), linear("fc", 32, 8), norm("after", 8))
    match = by_key(match_tensors(old, new))["blocks.1.after.weight"]
    assert (match.confidence, match.old) == ("suggest", "blocks.1.norm2.weight")


def test_a_buffer_that_only_some_elements_have_does_not_part_a_list() -> None:
    def stage(root: str, word: str) -> list[Row]:
        return [row for i in range(4) for row in linear(f"{root}.{i}.{word}", 32, 8) + norm(f"{root}.{i}.norm", 8)]

    masked = [TensorInfo(key=f"blocks.{i}.mask", shape=(2, 2), kind="buffer", order=99 + i) for i in (1, 3)]
    found = certain(match_tensors([*signature(*stage("blocks", "fc1")), *masked], signature(*stage("layers", "alpha"))))
    assert found["layers.3.alpha.weight"] == "blocks.3.fc1.weight"


def test_cross_attention_is_what_attends_to_the_encoder() -> None:
    old = blocks(linear("attn.q", 8, 8), linear("cross_attn.q", 8, 8))
    new = blocks(linear("self_attn.q", 8, 8), linear("encoder_attn.q", 8, 8))
    assert certain(match_tensors(old, new))["blocks.0.encoder_attn.q.weight"] == "blocks.0.cross_attn.q.weight"


def test_both_ways_to_store_a_normalised_weight_are_one() -> None:
    old = signature(
        ("conv.bias", (8,), "Conv1d"), ("conv.weight_g", (8, 1, 1), "Conv1d"), ("conv.weight_v", (8, 8, 3), "Conv1d")
    )
    listed = "net.conv.parametrizations.weight"
    new = signature(
        ("net.conv.bias", (8,), "ParametrizedConv1d"),
        (f"{listed}.original0", (8, 1, 1), "ParametrizationList"),
        (f"{listed}.original1", (8, 8, 3), "ParametrizationList"),
    )
    assert certain(match_tensors(old, new))[f"{listed}.original1"] == "conv.weight_v"
    assert certain(match_tensors(new, old))["conv.weight_g"] == f"{listed}.original0"


def test_two_originals_of_another_parametrization_are_not_read_as_a_normalised_weight() -> None:
    listed = "conv.parametrizations.weight"
    old = signature(("conv.weight_g", (4, 4), "Linear"), ("conv.weight_v", (4, 4), "Linear"))
    new = signature(
        (f"{listed}.original0", (4, 4), "ParametrizationList"), (f"{listed}.original1", (4, 4), "ParametrizationList")
    )
    assert certain(match_tensors(old, new)) == {}


def test_a_bare_matrix_that_became_a_layer_of_its_name_is_turned() -> None:
    old = signature(("text_projection", (6, 8), "Model"), *linear("fc", 4, 3))
    new = signature(("text_projection.weight", (8, 6), "Linear"), *linear("fc", 4, 3))
    match = by_key(match_tensors(old, new))["text_projection.weight"]
    assert (match.op, match.old, match.confidence) == ("transpose", "text_projection", "auto")


def test_a_batch_count_follows_the_module_whose_statistics_are_matched() -> None:
    leaves = {"weight": (8,), "bias": (8,), "running_mean": (8,), "running_var": (8,), "num_batches_tracked": ()}

    def batch_norm(path: str) -> list[Row]:
        return [(f"{path}.{leaf}", shape, "BatchNorm2d") for leaf, shape in leaves.items()]

    def layer(first: str, second: str, conv: str) -> list[Row]:
        between = [(f"{conv}.weight", (8, 4, 1, 1), "Conv2d")]
        wide = [(key, (4,) if shape else (), kind) for key, shape, kind in batch_norm(first)]
        return [*wide, *between, *batch_norm(second)]

    old = signature(*layer("dense.norm.1", "dense.norm.2", "dense.conv.1"))
    new = signature(*layer("dense.norm1", "dense.norm2", "dense.conv1"))
    found = certain(match_tensors(old, new))
    assert found["dense.norm2.num_batches_tracked"] == "dense.norm.2.num_batches_tracked"


def test_tied_tensors_without_a_source_get_one_answer_each() -> None:
    new = signature(("a.t", (7, 7), "Linear"), ("b.t", (7, 7), "Linear"))
    matches = match_tensors(signature(("c.x", (5, 5), "Linear")), new, tied_new=[["b.t", "a.t"], ["a.t", "gone"]])
    assert [match.new for match in matches] == ["a.t", "b.t"]
    assert {match.confidence for match in matches} == {"abstain"}


def test_the_only_tensors_of_their_shapes_are_suggested_though_nothing_else_tells() -> None:
    old = signature(("features.cnn.0.weight", (8, 3, 4, 4), "Conv2d"), ("action_net.weight", (3, 8), "Linear"))
    new = signature(("network.0.weight", (8, 3, 4, 4), "Conv2d"), ("actor.weight", (3, 8), "Linear"))
    assert by_key(match_tensors(old, new))["network.0.weight"].confidence == "suggest"


def test_many_open_blocks_of_one_shape_are_not_compared_each_with_each() -> None:
    def rows(count: int) -> list[TensorInfo]:
        names = ("attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.qkv")
        widths = (8, 8, 8, 24)
        return signature(
            *(
                row
                for i in range(count)
                for n, w in zip(names, widths, strict=True)
                for row in linear(f"h.{i}.{n}", w, 8)
            )
        )

    ways = Joins(rows(120))
    assert ways.of(TensorInfo(key="h.0.attn.qkv.weight", shape=(24, 8))) != ()
    assert Joins(rows(300)).of(TensorInfo(key="h.0.attn.qkv.weight", shape=(24, 8))) == ()
    assert certain(match_tensors(rows(120), rows(121))) == {}
