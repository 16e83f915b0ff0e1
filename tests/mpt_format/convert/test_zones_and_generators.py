"""Times in zones of a database and numpy's generators are kept so that they can be made again."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import torch
from mpt_format import ConversionError, convert_checkpoint, open_archive

BERLIN = ZoneInfo("Europe/Berlin")


def keep(tmp_path: Path, value: object, protocol: int = 2, **options: Any) -> tuple[Any, list[str]]:
    """What an archive keeps of a value that stands beside the weights, and what the loss list says of it."""
    torch.save({"model": {"w": torch.ones(2)}, "value": value}, tmp_path / "old.pt", pickle_protocol=protocol)
    done = convert_checkpoint(tmp_path / "old.pt", tmp_path / "new.mpt", **options)
    assert done.audit.verdict == "ok"
    with open_archive(tmp_path / "new.mpt") as archive:
        document = json.loads(archive.read_member("training.json"))
    return document["converted_from"]["value"], [loss.became for loss in done.losses if loss.path == "root['value']"]


@pytest.mark.parametrize("protocol", [2, 4])
def test_datetime_of_a_named_zone_keeps_local_time_and_name(tmp_path: Path, protocol: int) -> None:
    text, losses = keep(tmp_path, dt.datetime(2024, 7, 1, 12, 30, tzinfo=BERLIN), protocol)
    assert text == "2024-07-01T12:30:00[Europe/Berlin]"
    assert losses == ["ISO 8601 text with the zone's name; its offset is not in the file"]


def test_second_of_two_equal_local_times_is_told_from_the_first(tmp_path: Path) -> None:
    moment = dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN)
    first, _ = keep(tmp_path, moment, 4)
    second, _ = keep(tmp_path, moment.replace(fold=1), 4)  # protocols below 4 do not write it
    assert first == "2024-10-27T02:30:00[Europe/Berlin]"
    assert second == {"at": first, "fold": 1}


def test_timestamps_cannot_be_had_where_the_offset_is_not_in_the_file(tmp_path: Path) -> None:
    known, _ = keep(tmp_path, dt.datetime(2024, 7, 1, tzinfo=dt.UTC), timestamps=True)
    unknown, _ = keep(tmp_path, dt.datetime(2024, 7, 1, tzinfo=BERLIN), timestamps=True)
    assert known == dt.datetime(2024, 7, 1, tzinfo=dt.UTC).timestamp()
    assert unknown == "2024-07-01T00:00:00[Europe/Berlin]"


def test_zone_and_time_of_a_named_zone_are_text(tmp_path: Path) -> None:
    assert keep(tmp_path, BERLIN)[0] == "Europe/Berlin"
    assert keep(tmp_path, dt.time(3, 4, tzinfo=BERLIN))[0] == "03:04:00[Europe/Berlin]"


class Elsewhere(dt.tzinfo):
    def utcoffset(self, at: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(hours=3)

    def dst(self, at: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)

    def tzname(self, at: dt.datetime | None) -> str:
        return "elsewhere"


def test_zone_without_offset_or_name_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConversionError) as caught:
        keep(tmp_path, dt.datetime(2024, 7, 1, tzinfo=Elsewhere()))
    assert [path for path, _ in caught.value.refusals] == ["root['value']"]


def integers(value: Any) -> Any:
    """Large numbers are kept as the text of their digits."""
    if isinstance(value, dict):
        return {key: integers(inner) for key, inner in value.items()}
    return int(value) if isinstance(value, str) and value.isdigit() else value


def set_state(generator: np.random.BitGenerator, kept: Any) -> None:
    state = integers(kept["state"][0])
    state["state"] = {
        key: np.array(inner, dtype=generator.state["state"][key].dtype) if isinstance(inner, list) else inner
        for key, inner in state["state"].items()
    }
    if "buffer" in state:
        state["buffer"] = np.array(state["buffer"], dtype=np.uint64)
    generator.state = state


@pytest.mark.parametrize("name", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_generator_goes_on_where_it_stopped(tmp_path: Path, name: str) -> None:
    make = getattr(np.random, name)
    generator = np.random.Generator(make(3))
    generator.random(7)
    kept, losses = keep(tmp_path, generator)
    assert kept["numpy"] == "Generator" and kept["of"]["of"].endswith(f".{name}")
    assert losses == ["its state"]
    again = make(0)
    set_state(again, kept["of"])
    assert np.array_equal(np.random.Generator(again).random(20), generator.random(20))


def test_random_state_goes_on_where_it_stopped(tmp_path: Path) -> None:
    generator = np.random.RandomState(3)
    generator.normal(size=3)  # an odd number: one normal deviate is in store
    kept, _ = keep(tmp_path, generator)
    again = np.random.RandomState(0)
    again.set_state(kept["state"])
    assert np.array_equal(again.normal(size=20), generator.normal(size=20))
