"""Source edited while a process trains: what ran is not what lies on the disk, and must not be pinned."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

from app_loader.edited import find_edited

SOURCE = '''
from functools import wraps


def logged(function):
    @wraps(function)
    def inner(*args):
        return function(*args)
    return inner


class Layer:
    """A layer."""

    @property
    def width(self):
        return 3

    @staticmethod
    def double(x):
        return [y * 2 for y in x]

    @logged
    def forward(self, x):
        return x + 1
'''


def edited(tmp_path, monkeypatch, name, change):
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    layer = importlib.import_module(name).Layer
    assert find_edited([layer]) == []
    (tmp_path / f"{name}.py").write_text(change(SOURCE))
    return find_edited([layer])


def test_an_edited_method_is_seen_behind_its_decorator(tmp_path, monkeypatch):
    assert edited(tmp_path, monkeypatch, "edited_a", lambda s: s.replace("x + 1", "x + 2")) == [
        str(tmp_path / "edited_a.py")
    ]


def test_an_edited_property_and_an_edited_static_method_are_seen(tmp_path, monkeypatch):
    assert edited(tmp_path, monkeypatch, "edited_b", lambda s: s.replace("return 3", "return 4"))
    assert edited(tmp_path, monkeypatch, "edited_c", lambda s: s.replace("y * 2", "y * 3"))


def test_a_file_that_is_gone_or_broken_counts_as_edited(tmp_path, monkeypatch):
    assert edited(tmp_path, monkeypatch, "edited_d", lambda s: s + "\ndef broken(:\n")


def test_a_policy_of_edited_source_is_saved_without_a_pin(tmp_path):
    """In a process of its own: a zoo in a folder, installed editable by hand, edited between import and save."""
    site, source = tmp_path / "site", tmp_path / "src"
    (source / "tiny_zoo").mkdir(parents=True)
    info = site / "tiny_zoo-0.1.0.dist-info"
    info.mkdir(parents=True)
    from tests.app_loader.loading.conftest import tiny_source

    (source / "tiny_zoo" / "__init__.py").write_text(tiny_source())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-zoo\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[policy_interface.architectures]\ntiny = tiny_zoo:TinyArchitecture\n")
    (info / "direct_url.json").write_text(json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}}))
    program = f"""
import json, sys, warnings
sys.path[:0] = [{str(site)!r}, {str(source)!r}]
from pathlib import Path
from app_loader import save_policy
from policy_interface import DiscreteActions, Feature, GameRules
import tiny_zoo
rules = GameRules(features=(Feature(name="x", id=0),), actions=DiscreteActions.of("a", "b"))
policy = tiny_zoo.TinyArchitecture().make_policy(rules)
pins = [save_policy(policy, "before.mpt").manifest.code.package_sha256]
path = Path({str(source / "tiny_zoo" / "__init__.py")!r})
path.write_text(path.read_text().replace("observation * 1.0", "observation * 9.0"))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    pins.append(save_policy(policy, "after.mpt").manifest.code.package_sha256)
print(json.dumps([pins, [w.category.__name__ for w in caught]]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pins, warned = json.loads(done.stdout)
    assert pins[0] is not None
    assert pins[1] is None
    assert warned == ["EditedSourceWarning"]
