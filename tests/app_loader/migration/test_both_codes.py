"""Trial with both codes: what a witness can tell is settled and right, what it cannot tell stays open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from app_loader.matching import Match, match_tensors
from app_loader.migration.draft.settle_both import settle_with_both
from app_loader.migration.draft.shaken import shake
from app_loader.migration.draft.trial import Settled, open_sides
from app_loader.migration.draft.tries import Tries
from app_loader.migration.draft.ways import made
from app_loader.revisions.signatures import module_signature
from app_loader.witness import record_witness
from torch import Tensor, nn
from zoos import Drifting, Layout, Model, make_pair, truth_of


def settled(old: Drifting, new: Drifting, *, tries: int = 2000) -> tuple[dict[str, Match], Settled | None]:
    """Return what is certain by signature, and what trial with both codes adds to it."""
    weights = {key: value.detach().clone() for key, value in old.state_dict().items()}
    (olds, _), (news, _) = module_signature(old), module_signature(new)
    matches = match_tensors(olds, news)
    sure = {match.new: match for match in matches if match.confidence == "auto"}
    like = new.state_dict()

    def certain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {key: made(match, tensors, like[key]) for key, match in sure.items()}

    open_new, open_old = open_sides(matches, olds, news)
    found = settle_with_both(
        old,
        new,
        weights=weights,
        certain=certain,
        open_new=open_new,
        open_old=open_old,
        buffers=frozenset(info.key for info in olds if info.kind == "buffer"),
        recorded=record_witness(old),
        tries=Tries(tries),
    )
    return sure, found


def acting(truth: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what reaches no output: what counts steps, and what is added to every key that softmax compares."""
    silent = ("num_batches_tracked", "k.bias")
    return {key: source for key, source in truth.items() if not str(source[1]).endswith(silent)}


def relaid(parts: set[str], names: dict[str, str], *, order: int | None = None, **more: Any) -> Any:
    """Return a policy, the same in another layout, and the truth."""
    torch.manual_seed(0)
    model = Model(width=8, blocks=1, parts=frozenset(parts))
    old, new = Drifting(model, Layout()), Drifting(model, Layout(name=names, order=order, **more))
    return old, new, truth_of(old, new)


NAMELESS = {"q": "alpha", "k": "bravo", "v": "charlie", "o": "delta", "norm1": "echo", "norm2": "golf"}
NAMELESS |= {"fc1": "hotel", "fc2": "india", "block": "juliett"}


@pytest.mark.parametrize("seed", [1, 2])
def test_all_that_reaches_an_output_is_settled_and_right(seed: int) -> None:
    old, new, truth = make_pair(seed)
    sure, found = settled(old, new)
    assert found is not None
    claimed = {key: (match.op, match.old) for key, match in {**sure, **found.matches}.items()}
    twins = {key for key, match in found.matches.items() if "either is right" in match.evidence[-1]}
    wanted = acting(truth)
    assert claimed.keys() >= wanted.keys()
    assert {key: claimed[key] for key in wanted.keys() - twins} == {key: wanted[key] for key in wanted.keys() - twins}


def test_twins_of_equal_shape_without_a_telling_word_are_told_apart_by_what_they_compute() -> None:
    old, new, truth = relaid({"attention", "norms"}, NAMELESS, order=3)
    sure, found = settled(old, new)
    assert found is not None
    assert len(sure) < len(truth) / 2
    claimed = {k: (m.op, m.old) for k, m in {**sure, **found.matches}.items()}
    assert acting(claimed) == acting(truth)


def test_parts_are_joined_in_the_order_that_does_the_same_where_no_name_spells_one() -> None:
    old, new, truth = relaid({"attention", "norms"}, {**NAMELESS, "qkv": "kilo"}, joined=True)
    _, found = settled(old, new)
    assert found is not None
    joined = found.matches["juliett.0.kilo.weight"]
    assert (joined.op, joined.old) == truth["juliett.0.kilo.weight"]


def test_square_matrices_that_were_turned_are_turned_back() -> None:
    old, new, truth = relaid({"norms"}, {}, turned=True)
    sure, found = settled(old, new)
    assert found is not None
    assert {k: (m.op, m.old) for k, m in {**sure, **found.matches}.items()} == truth
    assert truth["block.0.fc1.weight"] == ("transpose", "block.0.fc1.weight")


def test_two_that_may_change_places_are_claimed_and_said_to_be_so() -> None:
    old, new, _ = relaid({"twins"}, {"critic": "alpha", "critic2": "bravo"})
    sure, found = settled(old, new)
    assert found is not None
    assert not any("alpha.0" in key for key in sure)
    assert {m.old for k, m in found.matches.items() if k in ("alpha.0.weight", "bravo.0.weight")} == {
        "critic.0.weight",
        "critic2.0.weight",
    }


class Muted(Drifting):  # type: ignore[misc]
    """Has two layers of one shape whose results go nowhere."""

    def __init__(self, model: Model, layout: Layout) -> None:
        super().__init__(model, layout)
        for name in ("left", "right") if layout.order is None else ("zulu", "yankee"):
            self.add_module(name, nn.Linear(3, 3))


def test_what_reaches_no_output_stays_open() -> None:
    torch.manual_seed(0)
    model = Model(width=8, blocks=1, parts=frozenset())
    _, found = settled(Muted(model, Layout()), Muted(model, Layout(order=1)))
    assert found is not None
    assert not any(key.startswith(("zulu", "yankee")) for key in found.matches)


def test_code_that_computes_something_else_settles_nothing() -> None:
    old, new, _ = relaid({"norms"}, NAMELESS)
    new.act = lambda *given, **named: type(new).act(new, given[0] * 1.5, *given[1:], **named)
    assert settled(old, new)[1] is None


def test_the_work_is_bounded() -> None:
    old, new, _ = relaid({"attention", "norms"}, NAMELESS)
    assert settled(old, new, tries=3)[1] is None


def test_shaken_weights_have_no_two_alike_and_variances_stay_above_zero() -> None:
    norm = nn.BatchNorm1d(4)
    shaken = shake(norm.state_dict(), buffers=frozenset({"running_mean", "running_var", "num_batches_tracked"}))
    assert not torch.equal(shaken["bias"], shaken["running_mean"])
    assert bool((shaken["running_var"] > 0).all())
    assert torch.equal(shaken["num_batches_tracked"], norm.state_dict()["num_batches_tracked"])
    assert torch.equal(norm.weight, torch.ones(4))


def test_keys_of_one_tensor_stay_one_tensor_when_shaken() -> None:
    one = torch.ones(3)
    shaken = shake({"a": one, "b": one, "c": torch.ones(3)}, buffers=frozenset())
    assert shaken["a"] is shaken["b"]
    assert not torch.equal(shaken["a"], shaken["c"])


def test_every_operation_that_a_match_may_have_gives_numbers_of_the_new_shape() -> None:
    old = {"a": torch.arange(6.0).view(2, 3), "b": torch.arange(6.0, 12.0).view(2, 3)}

    def shape(match: Match, *wanted: int) -> tuple[int, ...]:
        return tuple(made(match, old, torch.empty(wanted)).shape)

    def match(op: str, source: Any, **more: Any) -> Match:
        return Match(new="n", old=source, confidence="suggest", op=op, **more)

    assert shape(match("copy", "a"), 2, 3) == (2, 3)
    assert shape(match("transpose", "a"), 3, 2) == (3, 2)
    assert shape(match("reshape", "a"), 2, 3, 1) == (2, 3, 1)
    assert shape(match("slice", "a", dim=0, start=1), 1, 3) == (1, 3)
    assert shape(match("cat", ("a", "b"), dim=0), 4, 3) == (4, 3)
    assert shape(match("stack", ("a", "b"), dim=0), 2, 2, 3) == (2, 2, 3)
    assert shape(match("stack(cat0)", (("a", "b"),)), 1, 4, 3) == (1, 4, 3)


def test_signatures_are_not_needed_at_all_where_both_codes_run() -> None:
    old, new, truth = relaid({"attention"}, {})
    (olds, _), (news, _) = module_signature(old), module_signature(new)
    found = settle_with_both(
        old,
        new,
        weights={key: value.detach().clone() for key, value in old.state_dict().items()},
        certain=lambda tensors: {},
        open_new=news,
        open_old=olds,
        buffers=frozenset[str](),
        recorded=None,
        tries=Tries(2000),
    )
    assert found is not None
    assert acting({k: (m.op, m.old) for k, m in found.matches.items()}) == acting(truth)


class Picking(Drifting):  # type: ignore[misc]
    """Normalises its logits' places after it has summed them over two, or each of the two before."""

    def __init__(self, model: Model, layout: Layout) -> None:
        super().__init__(model, layout)
        self.name = "final" if layout.order is None else "last"
        self.add_module(self.name, nn.LayerNorm(5))

    def act(self, *given: Any, **named: Any) -> Any:
        output = super().act(*given, **named)
        both = torch.stack([output.logits, output.logits * 2], dim=1)  # [batch, 2, 5]
        norm = self.get_submodule(self.name)
        logits = norm(both)[:, 1] if self.name == "last" else norm(both[:, 1])
        return output._replace(logits=logits, action=logits.argmax(-1))


def test_a_normalisation_that_meets_more_numbers_in_the_one_code_than_in_the_other_is_found() -> None:
    torch.manual_seed(0)
    model = Model(width=8, blocks=1, parts=frozenset())
    sure, found = settled(Picking(model, Layout()), Picking(model, Layout(order=1)))
    assert found is not None
    claimed = {key: match.old for key, match in {**sure, **found.matches}.items()}
    assert claimed["last.weight"] == "final.weight"
    assert claimed["last.bias"] == "final.bias"
