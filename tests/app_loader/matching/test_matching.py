"""Matching by signature: what is certain, what is refused, and that nothing certain is wrong."""

from __future__ import annotations

import random
from collections.abc import Sequence

from app_loader.matching import Match, TensorInfo, match_tensors
from drifting_trees import make_case
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def signature(*rows: tuple[str, tuple[int, ...], str]) -> list[TensorInfo]:
    return [
        TensorInfo(key=key, shape=shape, dtype="float32", module_type=kind, order=i)
        for i, (key, shape, kind) in enumerate(rows)
    ]


def linear(path: str, out: int, inp: int, kind: str = "Linear") -> list[tuple[str, tuple[int, ...], str]]:
    return [(f"{path}.weight", (out, inp), kind), (f"{path}.bias", (out,), kind)]


def by_key(matches: Sequence[Match]) -> dict[str, Match]:
    return {match.new: match for match in matches}


def certain(matches: Sequence[Match]) -> dict[str, object]:
    return {match.new: match.old for match in matches if match.confidence == "auto"}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1))
def test_no_certain_match_is_wrong_however_a_tree_drifts(seed: int) -> None:
    old, new, truth = make_case(random.Random(seed))
    wrong = [m for m in match_tensors(old, new) if m.confidence == "auto" and truth[m.new] != (m.op, m.old)]
    assert wrong == []


def test_drifting_trees_are_matched_for_the_most_part() -> None:
    found = total = 0
    for seed in range(60):
        old, new, truth = make_case(random.Random(seed))
        total += sum(value is not None for value in truth.values())
        found += sum(m.confidence == "auto" for m in match_tensors(old, new))
    assert found > 0.6 * total


def test_an_unchanged_model_matches_whole() -> None:
    old, _, _ = make_case(random.Random(3))
    assert certain(match_tensors(old, old)) == {tensor.key: tensor.key for tensor in old}


def test_a_wrapper_prefix_is_seen_through() -> None:
    old = signature(*linear("encoder", 8, 4), *linear("actor", 3, 8))
    new = signature(*linear("module.encoder", 8, 4), *linear("module.actor", 3, 8))
    assert certain(match_tensors(old, new)) == {"module." + t.key: t.key for t in old}


def test_an_equal_width_shift_is_left_open() -> None:
    old = signature(*linear("inp", 8, 4), *(row for i in range(4) for row in linear(f"layers.{i}.fc", 8, 8)))
    new = signature(*linear("inp", 8, 4), *(row for i in range(5) for row in linear(f"layers.{i}.fc", 8, 8)))
    found = certain(match_tensors(old, new))
    assert set(found) == {"inp.weight", "inp.bias"}


def test_a_shift_between_unequal_widths_is_followed() -> None:
    widths = (8, 16, 32)
    old = signature(*(row for i, w in enumerate(widths) for row in linear(f"stages.{i}.down", 2 * w, w)))
    new = signature(*(row for i, w in enumerate(widths) for row in linear(f"stages.{i + 1}.down", 2 * w, w)))
    assert certain(match_tensors(old, new))["stages.2.down.weight"] == "stages.1.down.weight"


def test_renamed_twins_without_a_telling_word_are_left_open() -> None:
    old = signature(*linear("left", 8, 8), *linear("right", 8, 8))
    new = signature(*linear("first", 8, 8), *linear("second", 8, 8))
    assert certain(match_tensors(old, new)) == {}


def test_twins_that_trade_places_follow_their_names() -> None:
    old = signature(*linear("actor_fc", 8, 4), *linear("critic_fc", 8, 4))
    new = signature(*linear("heads.critic", 8, 4), *linear("heads.actor", 8, 4))
    assert certain(match_tensors(old, new))["heads.actor.weight"] == "actor_fc.weight"


def test_query_and_key_of_equal_shape_are_never_told_apart_by_order() -> None:
    old = signature(*linear("attn.q_proj", 8, 8), *linear("attn.k_proj", 8, 8))
    new = signature(*linear("attn.alpha", 8, 8), *linear("attn.bravo", 8, 8))
    assert certain(match_tensors(old, new)) == {}


def test_a_square_matrix_is_refused_when_its_module_type_changed() -> None:
    old = signature(*linear("fc", 8, 8))
    new = signature(*linear("fc", 8, 8, "Conv1D"))
    assert "fc.weight" not in certain(match_tensors(old, new))


def test_swapped_widths_of_one_module_type_are_a_resize_not_a_transpose() -> None:
    old, new = signature(*linear("fc", 8, 4)), signature(*linear("fc", 4, 8))
    assert by_key(match_tensors(old, new))["fc.weight"].confidence == "abstain"


def test_a_turned_matrix_is_found_when_its_module_type_changed() -> None:
    old, new = signature(*linear("fc", 8, 4)), signature(("fc.weight", (4, 8), "Conv1D"), ("fc.bias", (8,), "Conv1D"))
    match = by_key(match_tensors(old, new))["fc.weight"]
    assert (match.op, match.old, match.confidence) == ("transpose", "fc.weight", "auto")


def test_fused_query_key_value_are_joined_in_the_order_that_the_name_spells() -> None:
    old = signature(*(row for n in ("k", "q", "v") for row in linear(f"attn.to_{n}", 8, 8)), *linear("attn.out", 8, 8))
    new = signature(*linear("attn.to_qkv", 24, 8), *linear("attn.out", 8, 8))
    match = by_key(match_tensors(old, new))["attn.to_qkv.weight"]
    assert (match.op, match.dim, match.confidence) == ("cat", 0, "auto")
    assert match.old == ("attn.to_q.weight", "attn.to_k.weight", "attn.to_v.weight")


def test_fused_parts_whose_order_no_name_spells_are_not_joined() -> None:
    old = signature(*linear("mlp.fc1_g", 8, 4), *linear("mlp.fc1_x", 8, 4), *linear("mlp.fc2", 4, 8))
    new = signature(*linear("mlp.fc1", 16, 4), *linear("mlp.fc2", 4, 8))
    assert by_key(match_tensors(old, new))["mlp.fc1.weight"].confidence != "auto"


def test_a_split_tensor_gives_its_rows_in_order() -> None:
    old = signature(*linear("attn.qkv", 24, 8), *linear("attn.out", 8, 8))
    new = signature(*(row for n in "qkv" for row in linear(f"attn.{n}_proj", 8, 8)), *linear("attn.out", 8, 8))
    found = by_key(match_tensors(old, new))
    assert [found[f"attn.{n}_proj.weight"].start for n in "qkv"] == [0, 8, 16]
    assert {found[f"attn.{n}_proj.weight"].old for n in "qkv"} == {"attn.qkv.weight"}


def test_a_list_of_experts_is_stacked() -> None:
    old = signature(*(row for i in range(3) for row in [(f"moe.experts.{i}.down.weight", (4, 8), "Linear")]))
    new = signature(("moe.experts.down", (3, 4, 8), "Experts"))
    match = match_tensors(old, new)[0]
    assert (match.op, match.old) == ("stack", tuple(f"moe.experts.{i}.down.weight" for i in range(3)))


def test_tied_tensors_take_one_source() -> None:
    old = signature(*linear("extractor.fc", 8, 4))
    new = signature(*linear("extractor.fc", 8, 4), *linear("pi_extractor.fc", 8, 4))
    tied = [[f"extractor.fc.{leaf}", f"pi_extractor.fc.{leaf}"] for leaf in ("weight", "bias")]
    assert certain(match_tensors(old, new, tied_new=tied))["pi_extractor.fc.weight"] == "extractor.fc.weight"


def test_a_resized_tensor_is_never_matched_to_its_equal_key() -> None:
    old, new = signature(*linear("head", 21, 8)), signature(*linear("head", 24, 8))
    found = by_key(match_tensors(old, new))
    assert found["head.weight"].old is None
    assert found["head.weight"].confidence == "abstain"


def test_another_dtype_is_a_suggestion_and_says_so() -> None:
    old = signature(*linear("head", 3, 8))
    new = [
        TensorInfo(key=t.key, shape=t.shape, dtype="bfloat16", module_type=t.module_type, order=t.order) for t in old
    ]
    match = match_tensors(old, new)[0]
    assert match.confidence == "suggest"
    assert "bfloat16" in match.evidence[0]


def test_repeated_parts_of_shapes_of_their_own_are_matched_without_a_shared_word() -> None:
    def blocks(root: str, up: str, down: str) -> list[tuple[str, tuple[int, ...], str]]:
        rows: list[tuple[str, tuple[int, ...], str]] = []
        for i in range(3):
            rows += linear(f"{root}.{i}.attn.proj", 8, 8)
            rows += linear(f"{root}.{i}.{up}", 32, 8) + linear(f"{root}.{i}.{down}", 8, 32)
        return rows

    old = signature(*blocks("layer", "intermediate.dense", "output.dense"))
    new = signature(*blocks("layers", "mlp.alpha", "mlp.bravo"))
    found = certain(match_tensors(old, new))
    assert found["layers.2.mlp.alpha.weight"] == "layer.2.intermediate.dense.weight"
    assert len(found) == len(new)


def test_one_part_without_a_shared_word_may_have_been_replaced_and_is_left_open() -> None:
    old = signature(*linear("encoder", 8, 4), *linear("head", 3, 8))
    new = signature(*linear("encoder", 8, 4), *linear("auxiliary", 3, 8))
    assert set(certain(match_tensors(old, new))) == {"encoder.weight", "encoder.bias"}


def test_a_list_that_grew_inside_is_not_paired_by_what_is_left_of_it() -> None:
    old, new, truth = make_case(random.Random(360))
    wrong = [m for m in match_tensors(old, new) if m.confidence == "auto" and truth[m.new] != (m.op, m.old)]
    assert wrong == []


def test_what_became_one_part_elsewhere_does_not_become_another_here() -> None:
    old, new, truth = make_case(random.Random(5245))
    wrong = [m for m in match_tensors(old, new) if m.confidence == "auto" and truth[m.new] != (m.op, m.old)]
    assert wrong == []


def test_statistics_are_matched_across_kinds_of_normalisation_and_scales_are_not() -> None:
    leaves = ("weight", "bias", "running_mean", "running_var")
    old = signature(("a.conv.weight", (8, 4), "Conv"), *((f"a.norm.{leaf}", (8,), "InplaceAbn") for leaf in leaves))
    new = signature(
        ("m.a.conv.weight", (8, 4), "Conv"), *((f"m.a.norm.{leaf}", (8,), "BatchNorm2d") for leaf in leaves)
    )
    found = certain(match_tensors(old, new))
    assert found["m.a.norm.running_var"] == "a.norm.running_var"
    assert "m.a.norm.weight" not in found


def test_a_matrix_into_which_a_normalisation_may_have_been_folded_is_left_open() -> None:
    leaves = ("weight", "bias", "running_mean", "running_var")
    norm = [(f"a.bn.{leaf}", (4,), "BatchNorm2d") for leaf in leaves]
    folded = signature(("a.conv.weight", (4, 4, 3, 3), "Conv2d"), ("a.conv.bias", (4,), "Conv2d"))
    assert certain(match_tensors(signature(("a.conv.weight", (4, 4, 3, 3), "Conv2d"), *norm), folded)) == {}
    plain = signature(("a.conv.weight", (4, 4, 3, 3), "Conv2d"))
    assert certain(match_tensors(plain, folded)) == {"a.conv.weight": "a.conv.weight"}


def test_biases_of_a_list_are_no_rows_of_a_matrix_of_another_name() -> None:
    old = signature(*(row for i in range(3) for row in linear(f"expert.{i}", 12, 5)))
    new = signature(("router.weight", (3, 12), "Linear"))
    assert by_key(match_tensors(old, new))["router.weight"].confidence != "auto"


def test_a_name_that_got_the_number_two_may_be_another_one() -> None:
    old = signature(*linear("critic", 8, 8), *linear("grove", 8, 8))
    new = signature(*linear("critic2", 8, 8), *linear("foxtrot", 8, 8))
    assert certain(match_tensors(old, new)) == {}


def test_every_new_tensor_gets_one_answer_in_order() -> None:
    old, new, _ = make_case(random.Random(11))
    assert [match.new for match in match_tensors(old, new)] == [tensor.key for tensor in new]


def test_candidates_at_the_same_place_come_first() -> None:
    old = signature(*(row for i in range(12) for name in ("w1", "w3") for row in linear(f"layers.{i}.{name}", 8, 4)))
    new = signature(*(row for i in range(12) for name in ("up", "gate") for row in linear(f"blocks.{i}.{name}", 8, 4)))
    for match in match_tensors(old, new):
        assert match.confidence != "auto"
        place = match.new.split(".")[1]
        assert {key.split(".")[1] for key in match.candidates[:2]} == {place}
