"""What is judged before any code runs: requirements, package digests; and that every error pickles with its facts."""

from __future__ import annotations

import inspect
import pickle
from importlib import metadata

import pytest
from app_loader import errors, load_policy, save_policy
from app_loader.code import StoredCode
from app_loader.judge import SharedLibraryWarning, judge_requirements, table_of
from app_loader.package_digest import package_digest
from app_loader.resolve import Candidate, Resolution
from app_loader.store.shared import SharedLibrary
from policy_interface import Problem

from tests.app_loader.loading.conftest import tiny_source


def test_only_requirements_that_apply_here_are_judged():
    judged = judge_requirements(
        [
            "policy-interface>=1.0,<2",
            "torch>=99",
            "numpy>=1; python_version < '3'",
            "tqdm",
            "torch[opt]>=2; extra == 'x'",
        ],
        ["policy_interface", "torch", "numpy"],
    )
    assert [(r.name, r.met) for r in judged] == [("policy-interface", True), ("torch", False)]


def test_an_absent_library_does_not_meet_its_range():
    assert not judge_requirements(["surely-absent-library"], ["surely-absent-library"])[0].met


def test_the_package_digest_sees_names_and_contents_and_no_bytecode(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    first = package_digest(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"bytecode")
    assert package_digest(tmp_path) == first
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    renamed = package_digest(tmp_path)
    (tmp_path / "b.py").write_text("x = 2\n")
    assert len({first, renamed, package_digest(tmp_path)}) == 3


RESOLUTION = Resolution(
    requested="trained",
    candidates=(
        Candidate(
            source="store", distribution="tiny-zoo", version="1", digest="ab" * 32, accepted=False, reason="other code"
        ),
    ),
    store="/store",
    next_command="mpt zoo add",
)

ERRORS = [
    errors.LoaderError("said"),
    errors.ResolutionError("run.mpt", RESOLUTION),
    errors.VersionNotStoredError(
        distribution="d", version="1", digest=None, store="s", resolution=RESOLUTION, archive="run.mpt"
    ),
    errors.UnknownKindError(kind="k", distribution="d", version="1", declared=("a",)),
    errors.IncompatibleInterfaceError(distribution="d", version="1", required=">=2", installed="1.0"),
    errors.BuildError("k", stage="config", cause="c", problems=[Problem(path="config.x", message="m")]),
    errors.RestoreError("k", missing=["a"], unexpected=["b"], mismatched=[("c", (1,), (2,))]),
    errors.WitnessError("k", None),
    errors.MigrationError("k", ["p"]),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_pickles_with_its_facts(error):
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    facts = {k: v for k, v in vars(error).items() if k != "_arguments"}
    assert {k: v for k, v in vars(twin).items() if k != "_arguments"} == facts


def test_every_error_is_named_in_the_drawn_tree():
    own = [n for n, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]
    assert [name for name in own if name not in (errors.__doc__ or "")] == []


def test_a_shared_library_outside_its_range_is_told_before_the_code_runs_and_asks_for_a_proof(
    make_wheel, store, rules, tmp_path, monkeypatch
):
    source = tiny_source(scale="SCALE").replace("import torch\n", "import torch\nSCALE = 1.0\n", 1)
    points = "[policy_interface.architectures]\ntiny = tiny_zoo:TinyArchitecture\n"
    requires = ("torch>=1,<2", "numpy", "absent-library>=3")
    wheel = make_wheel("tiny-zoo", "1.0", {"tiny_zoo/__init__.py": source}, entry_points=points, requires=requires)
    entry = store.add([wheel])
    save_policy(StoredCode(entry).architecture_class("tiny")().make_policy(rules), tmp_path / "run.mpt")
    with pytest.warns(SharedLibraryWarning) as caught:
        loaded = load_policy(tmp_path / "run.mpt", store=store)
    rows = [line.split() for line in str(caught[0].message).splitlines()[1:]]
    here = metadata.version("torch")
    assert rows[1:] == [["torch", "<2,>=1", here, here], ["absent-library", ">=3", "unknown", "none"]]
    assert loaded.origin.outside == ("torch", "absent-library")
    monkeypatch.setitem(vars(entry.import_module("tiny_zoo")), "SCALE", 2.0)  # what another torch might do
    with pytest.warns(SharedLibraryWarning), pytest.raises(errors.WitnessError):
        load_policy(tmp_path / "run.mpt", store=store)
    with pytest.warns(SharedLibraryWarning):
        load_policy(tmp_path / "run.mpt", store=store, verify="structure")


def test_what_an_archive_says_was_there_does_not_steer_a_terminal() -> None:
    library = SharedLibrary(name="numpy", asked="<1", installed="2.0", met=False, then="\x1b[2J\u202e1.0")
    assert {"\x1b", "\u202e"}.isdisjoint(table_of([library]))
