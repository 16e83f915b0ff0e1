"""A deliberate break of each promise is told, with the place and the least version that may follow."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from packaging.version import Version

from tools.release.errors import ReleaseError
from tools.release.promises.api import compare_apis
from tools.release.promises.change import Bump, Change, minimum_version, worst_first
from tools.release.promises.contract import compare_contracts
from tools.release.promises.probe import run_probe
from tools.release.promises.zoo import _covered_kinds, compare_zoos

Told = dict[str, Change]

CONTRACT_EDITS = [
    ("policy.py", '    ENTROPY = "entropy"', '    ENTROPY = "entropy"\n    ADVANTAGE = "advantage"'),
    ("policy.py", "    value: Tensor | None = None\n    entropy:", "    entropy:"),
    ("policy.py", "    def adapt(self, rules: GameRules)", "    def adapt(self, new_rules: GameRules)"),
    ("observations.py", "padding: int = Field(default=255", "padding: int = Field(default=254"),
    ("observations.py", "height: int = Field(ge=1, le=16)", "height: int = Field(ge=1, le=32)"),
    ("observations.py", '"uint8", "int8"', '"uint8"'),
    ("observations.py", "    tokens: int = Field(ge=1)", "    tokens: int = Field(ge=1)\n    stride: int = 1"),
    ("actions.py", "    low: float | None = None\n    high", "    low: float\n    high"),
    ("errors.py", "InvalidConfigError(PolicyInterfaceError, ValueError)", "InvalidConfigError(PolicyInterfaceError)"),
    ("origin.py", '"__mpt_origin__"', '"__origin__"'),
    ("training.py", 'removeprefix("torch.")', 'removeprefix("torch.").upper()'),
    ("testing/sampling.py", "feature.scale * torch.randn", "feature.scale * 2 * torch.randn"),
    ("state.py", "def unflatten_state(", "def join_state("),
    ("__init__.py", "flatten_state, map_state, unflatten_state", "flatten_state, map_state"),
    ("__init__.py", '    "unflatten_state",\n', ""),
]

TINY_KINDS = ("default", "renamed", "shape", "behaviour", "refused", "version", "field")
ZOO_EDITS = {
    "default": ("hidden: int = 8", "hidden: int = 9"),
    "renamed": ("self.critic", "self.value_head"),
    "shape": ("nn.Linear(architecture.hidden, 1)", "nn.Linear(architecture.hidden, 1, bias=False)"),
    "behaviour": ("torch.tanh(self.body(observation)", "torch.tanh(1.01 * self.body(observation)"),
    "refused": ('rules.layout.kind != "vector"', 'rules.agents != 2 or rules.layout.kind != "vector"'),
    "version": ("scale: float", "factor: float"),
    "field": ("scale: float", "factor: float"),
}


HISTORY = """
from policy_interface.migrations import Revision

REVISIONS = (
    Revision(id="r0001_name_head", parents=(), since="0.2.0", kinds=("renamed",), summary="A new name.", reviewed=True),
    Revision(id="r0002_draft", parents=("r0001_name_head",), since="0.2.0", kinds=("shape",), summary="A draft."),
)
"""


def copy_of(release: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(release, tmp_path / "new"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) >= 1, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new))


def by_place(changes: Sequence[Change]) -> dict[tuple[str, str], Change]:
    return {(change.promise, change.where): change for change in changes}


def test_every_break_of_the_contract_is_told(contract_release: Path, tmp_path: Path) -> None:
    new = copy_of(contract_release, tmp_path)
    for file, old, replacement in CONTRACT_EDITS:
        edit(new / "policy_interface" / file, old, replacement)
    changes = list(compare_contracts(contract_release, new))
    told = by_place(changes)
    expected = {
        ("api", "policy_interface.state.unflatten_state"): Bump.MAJOR,
        ("api", "policy_interface.state.join_state"): Bump.MINOR,
        ("api", "policy_interface.policy.Policy.adapt"): Bump.MAJOR,
        ("api", "policy_interface.origin.ORIGIN_ATTRIBUTE"): Bump.MAJOR,
        ("api", "bases of InvalidConfigError"): Bump.MAJOR,
        ("schema", "TokenLayout.padding"): Bump.MAJOR,
        ("schema", "TokenLayout.height"): Bump.MINOR,
        ("schema", "TokenLayout.stride"): Bump.MINOR,
        ("schema", "Feature.dtype"): Bump.MAJOR,
        ("schema", "ContinuousDimension.low"): Bump.MAJOR,
        ("output", "PolicyOutput"): Bump.MAJOR,
        ("output", "Capability.advantage"): Bump.MINOR,
        ("output", "training_spec under vector rules at rollout/state.steps/dtype"): Bump.MAJOR,
        ("draw", "sample_observation under vector rules"): Bump.MAJOR,
        ("schema", "fingerprint of tokens rules"): Bump.MAJOR,
    }
    for place, bump in expected.items():
        assert place in told, f"{place} is not among {sorted(told)}"
        assert told[place].bump is bump
    assert minimum_version(Version("1.0.0"), changes) == Version("2.0.0")


def test_contract_that_did_not_change_asks_for_nothing(contract_release: Path, tmp_path: Path) -> None:
    new = copy_of(contract_release, tmp_path)
    edit(new / "policy_interface/state.py", "def _children(", "def _offspring(")
    edit(new / "policy_interface/state.py", "_children(state)", "_offspring(state)")
    changes = list(compare_contracts(contract_release, new))
    assert changes == []
    assert minimum_version(Version("1.4.2"), changes) == Version("1.4.3")


@pytest.fixture(scope="session")
def kinds_release(zoo_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny zoo with one kind for each way to break a promise, and one that stays as it is."""
    folder = Path(shutil.copytree(zoo_release, tmp_path_factory.mktemp("kinds") / "old"))
    source = (folder / "tiny_zoo/tiny.py").read_text()
    entries = ["[policy_interface.architectures]", "same = tiny_zoo.same:TinyArchitecture"]
    for kind in ("same", "removed", *TINY_KINDS):
        (folder / f"tiny_zoo/{kind}.py").write_text(source.replace('"tiny"', f'"{kind}"'))
        entries.append(f"{kind} = tiny_zoo.{kind}:TinyArchitecture")
    next(folder.glob("*.dist-info/entry_points.txt")).write_text("\n".join(dict.fromkeys(entries)) + "\n")
    return folder


def test_every_break_of_a_zoo_is_told_with_its_kind(kinds_release: Path, tmp_path: Path) -> None:
    new = copy_of(kinds_release, tmp_path)
    for kind, (old, replacement) in ZOO_EDITS.items():
        edit(new / f"tiny_zoo/{kind}.py", old, replacement)
    for kind in ("version", "field"):
        edit(new / f"tiny_zoo/{kind}.py", "self.architecture.scale", "self.architecture.factor")
    edit(new / "tiny_zoo/version.py", "schema_version: ClassVar[int] = 1", "schema_version: ClassVar[int] = 2")
    (new / "tiny_zoo/history.py").write_text(HISTORY)
    entry_points = next(new.glob("*.dist-info/entry_points.txt"))
    entry_points.write_text(
        entry_points.read_text() + "[policy_interface.migrations]\ntiny = tiny_zoo.history:REVISIONS\n"
    )
    edit(entry_points, "removed = tiny_zoo.removed:", "added = tiny_zoo.same:")
    changes = list(compare_zoos(kinds_release, new, Version("0.1.0")))
    told = {
        kind: [c for c in changes if c.where.replace(".", " ").split()[0] == kind and c.promise != "revision"]
        for kind in ("same", *TINY_KINDS)
    }
    places = by_place(changes)
    assert told["same"] == []
    assert places["config", "default.hidden"].what == "default changed: 8 -> 9"
    assert "schema_version stayed 1" in places["config", "field"].what
    assert {c.where for c in told["renamed"]} == {
        f"renamed {name}.{leaf}" for name in ("critic", "value_head") for leaf in ("weight", "bias")
    }
    assert [(c.promise, c.where, c.what) for c in told["shape"]] == [("tensors", "shape critic.bias", "removed")]
    assert [c.promise for c in told["behaviour"]] == ["behaviour"]
    assert "step 0 logits" in told["behaviour"][0].what
    assert [c.what for c in told["refused"]] == ["these rules are refused now"]
    assert {c.where for c in told["version"]} == {"version.scale", "version.factor"}
    assert places["kind", "removed"].bump is Bump.MAJOR
    assert places["kind", "added"].bump is Bump.MINOR
    assert minimum_version(Version("0.3.1"), changes) == Version("0.4.0")
    # every kind that changed asks for a revision but the one that has it
    assert {c.where for c in changes if c.promise == "revision"} == set(TINY_KINDS) - {"renamed"}


@pytest.mark.parametrize(
    ("since", "reviewed", "covered"), [("0.3.0", True, True), ("0.2.0", True, False), ("0.3.0", False, False)]
)
def test_only_a_reviewed_revision_newer_than_the_release_covers(since: str, reviewed: bool, covered: bool) -> None:
    revision = {"id": "r1", "since": since, "kinds": ["tiny"], "reviewed": reviewed}
    assert _covered_kinds([revision], Version("0.2.0")) == ({"tiny"} if covered else set())


def test_release_that_cannot_be_imported_is_told(zoo_release: Path, tmp_path: Path) -> None:
    new = copy_of(zoo_release, tmp_path)
    (new / "tiny_zoo/tiny.py").write_text("import torch.nosuchmodule\n")
    with pytest.raises(ReleaseError, match="nosuchmodule"):
        run_probe("zoo", [new], {})


API_BREAKS = {
    "def double(number: int) -> int: ...": ("def double(number: int, base: int) -> int: ...", "double"),
    "def triple(number: int) -> int: ...": ("", "triple"),
    "class Box:\n    size: int = 1\n    def open(self) -> None: ...": ("class Box:\n    size: int = 1", "Box.open"),
    "LIMIT = 3": ("LIMIT = 4", "LIMIT"),
    "def fetch(*, retries: int = 3) -> None: ...": ("def fetch(*, retries: int = 5) -> None: ...", "fetch"),
}


@pytest.mark.parametrize("source", API_BREAKS)
def test_break_of_an_api_is_told_with_its_dotted_name(source: str, tmp_path: Path) -> None:
    after, place = API_BREAKS[source]
    for folder, text in (("old", source), ("new", after)):
        (tmp_path / folder / "shop").mkdir(parents=True)
        (tmp_path / folder / "shop/__init__.py").write_text(f"{text}\n")
    (change,) = compare_apis("shop", tmp_path / "old", tmp_path / "new")
    assert (change.where, change.bump) == (f"shop.{place}", Bump.MAJOR)


def test_private_names_are_no_promise(tmp_path: Path) -> None:
    for folder, text in (("old", "def _inner(a: int) -> None: ..."), ("new", "def _inner() -> None: ...")):
        (tmp_path / folder / "shop").mkdir(parents=True)
        (tmp_path / folder / "shop/__init__.py").write_text(f"{text}\n")
        (tmp_path / folder / "shop/_private.py").write_text("X = 1\n" if folder == "old" else "Y = 1\n")
    assert list(compare_apis("shop", tmp_path / "old", tmp_path / "new")) == []


@pytest.mark.parametrize(
    ("released", "bump", "minimum"),
    [
        ("1.2.3", Bump.PATCH, "1.2.4"),
        ("1.2.3", Bump.MINOR, "1.3.0"),
        ("1.2.3", Bump.MAJOR, "2.0.0"),
        ("0.2.3", Bump.PATCH, "0.2.4"),
        ("0.2.3", Bump.MINOR, "0.2.4"),
        ("0.2.3", Bump.MAJOR, "0.3.0"),
    ],
)
def test_least_version_follows_from_the_gravest_change(released: str, bump: Bump, minimum: str) -> None:
    changes = [Change(promise="api", where="x", what="y", bump=b) for b in (Bump.PATCH, bump)]
    assert minimum_version(Version(released), changes) == Version(minimum)
    assert worst_first(changes)[0].bump is bump
