"""An index gives what it is listed for and nothing else, whatever another one has under the same name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from app_loader.errors import IntegrityError, SourceRefusedError
from app_loader.settings import Index, Settings
from app_loader.sources import add_archive, add_requirement, fetch_wheels
from app_loader.sources.download import download_wheel
from app_loader.sources.wheelhouse import wheel_sha256
from app_loader.store import Store
from mpt_format import CodeRecord

from tests.app_loader.sources.conftest import ServeWheels

MakeWheel = Callable[..., Path]


@pytest.fixture
def ours(make_wheel: MakeWheel) -> Path:
    return make_wheel("model-zoo", "0.1.0", {"model_zoo.py": "whose = 'ours'"})


@pytest.fixture
def strangers(make_wheel: MakeWheel) -> list[Path]:
    """Another project of that name: the same version, and a higher one."""
    return [
        make_wheel("model-zoo", number, {"model_zoo.py": "raise SystemExit('a stranger')"})
        for number in ("0.1.0", "9.0.0")
    ]


def settings(*indexes: tuple[str, str], **options: object) -> Settings:
    listed = tuple(Index(url=url, packages=(name,)) for url, name in indexes)
    return Settings(fetch=True, indexes=listed, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("requirement", ["model-zoo==0.1.0", "Model_Zoo", "model.zoo>=0.1"])
def test_a_stranger_on_an_index_for_other_names_is_not_even_asked_for(
    ours: Path, strangers: list[Path], serve: ServeWheels, store: Store, requirement: str
) -> None:
    public, private = serve(strangers), serve([ours])
    for order in ((("einops", public), ("model-zoo", private)), (("model-zoo", private), ("einops", public))):
        chosen = settings(*((index.url, name) for name, index in order))
        entry = add_requirement(store, requirement, chosen, resolve_companions=False)
        assert entry.digest == wheel_sha256(ours)
    assert public.asked == []


def test_of_two_indexes_for_a_name_the_first_listed_decides(
    ours: Path, strangers: list[Path], serve: ServeWheels, store: Store
) -> None:
    public, private = serve(strangers), serve([ours])
    chosen = settings((private.url, "*"), (public.url, "*"))
    entry = add_requirement(store, "model-zoo", chosen, resolve_companions=False)
    assert entry.digest == wheel_sha256(ours)


def test_a_pinned_digest_decides_against_every_source(
    ours: Path, strangers: list[Path], serve: ServeWheels, store: Store, tmp_path: Path
) -> None:
    record = CodeRecord(distribution="model-zoo", version="0.1.0", wheel_sha256=wheel_sha256(ours))
    public = serve(strangers)
    house = strangers[0].parent
    with pytest.raises(IntegrityError):
        add_archive(store, record, settings((public.url, "model-zoo"), wheelhouses=(house,)))
    assert store.entries() == []


def test_what_a_package_requires_comes_from_the_index_listed_for_it(
    make_wheel: MakeWheel, serve: ServeWheels, tmp_path: Path
) -> None:
    main = make_wheel("main-zoo", "1.0", {"main_zoo.py": ""}, requires=("side-zoo>=1",))
    side = make_wheel("side-zoo", "1.0", {"side_zoo.py": "ours"})
    strange = make_wheel("side-zoo", "1.0", {"side_zoo.py": "strange"})
    first, second = serve([main, strange]), serve([side])
    chosen = settings((first.url, "main-zoo"), (second.url, "side-zoo"))
    found = fetch_wheels(["main-zoo"], chosen, tmp_path / "found", with_dependencies=True)
    assert {path.name.split("-")[0]: wheel_sha256(path) for path in found} == {
        "main_zoo": wheel_sha256(main),
        "side_zoo": wheel_sha256(side),
    }


@pytest.mark.parametrize("variable", ["UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS"])
def test_no_environment_of_uv_adds_a_source(
    variable: str, strangers: list[Path], serve: ServeWheels, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    public, private = serve(strangers), serve([])
    monkeypatch.setenv(variable, public.url)
    with pytest.raises(SourceRefusedError):
        add_requirement(store, "model-zoo", settings((private.url, "model-zoo")))
    assert public.asked == []


def test_fetching_that_is_off_asks_nobody(ours: Path, serve: ServeWheels, store: Store, tmp_path: Path) -> None:
    index = serve([ours])
    with pytest.raises(SourceRefusedError):
        add_requirement(store, "model-zoo", Settings(indexes=(Index(url=index.url, packages=("*",)),)))
    page = tmp_path / "simple" / "model-zoo" / "index.html"  # a folder here, whose page points there
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="{index.url}/../files/{ours.name}#sha256={wheel_sha256(ours)}">{ours.name}</a>')
    with pytest.raises(SourceRefusedError):
        add_requirement(store, "model-zoo", Settings(indexes=(Index(url=str(tmp_path / "simple"), packages=("*",)),)))
    assert index.asked == []


def test_a_password_reaches_its_own_host_and_nothing_that_is_printed(
    ours: Path, serve: ServeWheels, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    private, elsewhere = serve([ours]), serve([ours])
    private.password = "somebody:verysecret"
    private.redirects[f"/files/{ours.name}"] = elsewhere.url.replace("/simple", f"/files/{ours.name}")
    chosen = settings((private.with_credentials(), "model-zoo"))
    with caplog.at_level(logging.DEBUG):
        entry = add_requirement(store, "model-zoo==0.1.0", chosen, resolve_companions=False)
        assert entry.digest == wheel_sha256(ours)
        assert {given for _, given in elsewhere.asked} == {""}
        with pytest.raises(SourceRefusedError) as caught:
            add_requirement(store, "model-zoo==7", chosen)
    private.password = "somebody:changed"
    with pytest.raises(SourceRefusedError) as refused:
        add_requirement(store, "model-zoo==0.1.0", chosen)
    for shown in (str(caught.value), str(refused.value), repr(chosen), caplog.text, str(entry.provenance)):
        assert "verysecret" not in shown


def test_bytes_that_were_not_announced_are_refused(
    ours: Path, strangers: list[Path], serve: ServeWheels, store: Store
) -> None:
    index, other = serve([ours]), serve(strangers)
    index.redirects[f"/files/{ours.name}"] = other.url.replace("/simple", f"/files/{ours.name}")
    with pytest.raises(IntegrityError):
        add_requirement(store, "model-zoo==0.1.0", settings((index.url, "model-zoo")), resolve_companions=False)
    assert store.entries() == []


def test_a_signed_url_is_asked_for_as_it_is_and_shown_without_its_signature(
    make_wheel: MakeWheel, serve: ServeWheels, tmp_path: Path
) -> None:
    wheel = make_wheel("toy-zoo", "1.0", {"toy_zoo.py": ""})
    index = serve([wheel])
    url = f"{index.url.removesuffix('/simple')}/files/{wheel.name}?signature=secret"
    taken = download_wheel(url, tmp_path / wheel.name, None, indexes=[])
    assert taken.read_bytes() == wheel.read_bytes()
    assert index.asked == [(f"/files/{wheel.name}?signature=secret", "")]
    with pytest.raises(SourceRefusedError) as caught:
        download_wheel(url.replace("toy_zoo", "other"), tmp_path / "x", None, indexes=[])
    assert "secret" not in str(caught.value)
