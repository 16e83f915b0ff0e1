from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from policy_interface import ComponentConfig, Config, InvalidConfigError, canonical_json, canonical_yaml
from pydantic import Field, ValidationError

from tests.policy_interface.sample_policies import SampleArchitecture

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Layer(ComponentConfig):
    width: int = Field(ge=1)
    bias: bool = True


class Conv(ComponentConfig):
    kind: Literal["conv"] = "conv"
    kernel: int = 3


class Dense(ComponentConfig):
    kind: Literal["dense"] = "dense"
    layers: tuple[Layer, ...] = ()


class Net(Config):
    encoder: Annotated[Conv | Dense, Field(discriminator="kind")] = Dense()
    rate: float = 0.5
    name: str = "net"


def problems_of(document: Any) -> dict[str, str]:
    with pytest.raises(InvalidConfigError) as caught:
        Net.from_document(document)
    return {problem.path: problem.message for problem in caught.value.problems}


def test_unknown_key_is_refused_with_its_path_and_a_near_name() -> None:
    found = problems_of({"encoder": {"kind": "dense", "layers": [{"width": 1}, {"width": 2, "bais": True}]}})
    ((path, message),) = found.items()
    assert path == "encoder.dense.layers[1].bais"
    assert "'bias'" in message


def test_every_problem_is_told_at_once() -> None:
    found = problems_of({"rate": "fast", "nmae": "x", "encoder": {"kind": "dense", "layers": [{"width": 0}, {}]}})
    assert set(found) == {"rate", "nmae", "encoder.dense.layers[0].width", "encoder.dense.layers[1].width"}


@pytest.mark.parametrize(
    ("field", "value"),
    [("rate", "0.5"), ("rate", True), ("name", 3), ("rate", None), ("encoder", []), ("encoder", {"kind": "lstm"})],
)
def test_document_is_read_strictly(field: str, value: Any) -> None:
    assert field in problems_of({field: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x", object()])
def test_what_is_not_plain_data_is_refused(value: Any) -> None:
    assert set(problems_of({"rate": value})) == {"document"}


def test_problem_paths_start_at_the_place_in_the_larger_document() -> None:
    with pytest.raises(InvalidConfigError) as caught:
        Net.from_document({"rate": "x"}, at="config.net")
    assert [problem.path for problem in caught.value.problems] == ["config.net.rate"]


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "!!python/object:os.system {}", "a: &x 1\nb: *y"])
def test_bad_yaml_is_an_invalid_config(text: str) -> None:
    with pytest.raises(InvalidConfigError):
        Net.from_yaml(text)


@pytest.mark.parametrize("text", ["{", "[]", "", '{"rate": NaN}'])
def test_bad_json_is_an_invalid_config(text: str) -> None:
    with pytest.raises(InvalidConfigError):
        Net.from_json(text)


def test_config_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Net().rate = 1.0  # type: ignore[misc]


def test_fields_set_tells_what_the_author_wrote_in_declared_order() -> None:
    net = Net.from_document({"rate": 0.5, "encoder": {"kind": "dense", "layers": []}})
    assert net.fields_set() == ("encoder", "encoder.kind", "encoder.layers", "rate")
    assert Net().fields_set() == ()


def test_schema_digest_follows_fields_and_defaults() -> None:
    class Renamed(Config):
        encoder: Annotated[Conv | Dense, Field(discriminator="kind")] = Dense()
        rate: float = 0.25
        name: str = "net"

    Renamed.__name__ = "Net"
    assert Net.schema_digest() == Net.schema_digest()
    assert Net.schema_digest() != Renamed.schema_digest()


@given(
    width=st.lists(st.integers(1, 2**40), max_size=4),
    rate=st.floats(allow_nan=False, allow_infinity=False),
    name=st.text(),
)
def test_config_round_trips_through_yaml_and_json(width: list[int], rate: float, name: str) -> None:
    net = Net(encoder=Dense(layers=tuple(Layer(width=w) for w in width)), rate=rate, name=name)
    for text, parse in ((net.to_yaml(), Net.from_yaml), (net.to_json(), Net.from_json)):
        read = parse(text)
        assert read == net
        assert (read.to_yaml(), read.to_json()) == (net.to_yaml(), net.to_json())


@given(document=PLAIN)
def test_canonical_texts_hold_the_document(document: Any) -> None:
    assert json.loads(canonical_json(document)) == document
    assert yaml.safe_load(canonical_yaml(document)) == document


@given(document=st.dictionaries(st.text(), st.integers(), max_size=6))
def test_canonical_json_does_not_depend_on_the_order_of_keys(document: dict[str, int]) -> None:
    assert canonical_json(dict(reversed(document.items()))) == canonical_json(document)


def test_canonical_yaml_writes_no_anchors() -> None:
    shared = [1, 2]
    assert "&" not in canonical_yaml({"a": shared, "b": shared})


def test_architecture_round_trips_with_its_kind_and_schema() -> None:
    architecture = SampleArchitecture(hidden=7, inputs=3)
    document = architecture.to_document()
    assert (document["kind"], document["schema_version"]) == ("sample", 1)
    assert SampleArchitecture.from_document(document) == architecture
    assert SampleArchitecture.from_yaml(architecture.to_yaml()) == architecture


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"kind": "other"}, "kind"),
        ({"schema_version": 2}, "schema_version"),
        ({"class": "os.system"}, "class"),
        ({"config": {"hiden": 3}}, "config.hiden"),
    ],
)
def test_architecture_document_that_does_not_fit_is_refused(change: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        SampleArchitecture.from_document({**SampleArchitecture().to_document(), **change})
    assert path in {problem.path for problem in caught.value.problems}


def test_architecture_needs_all_of_its_envelope() -> None:
    with pytest.raises(InvalidConfigError) as caught:
        SampleArchitecture.from_document({})
    assert {problem.path for problem in caught.value.problems} == {"kind", "schema_version", "config"}
    with pytest.raises(InvalidConfigError):
        SampleArchitecture.from_document([1])


def test_class_variables_are_no_part_of_the_document() -> None:
    class Tagged(SampleArchitecture):
        note: ClassVar[str] = "x"

    assert "note" not in Tagged().to_document()["config"]


@pytest.mark.parametrize(
    "text", ["a\x85b", "\u2028", "a\u2029", "\x85 ", "\ufeff", "\t\r\n", "null", "1e3", "0x1f", "2020-01-01"]
)
def test_texts_that_yaml_likes_to_change_come_back(text: str) -> None:
    assert Net.from_yaml(Net(name=text).to_yaml()).name == text
