"""A diagnosis as one self-contained HTML file: both trees side by side, matches drawn, coloured by the change.

No script, font or picture is fetched; everything that comes from an archive is escaped by the template engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, select_autoescape

from app_loader.diagnosis.finding import STAGES
from app_loader.diagnosis.report import Diagnosis
from app_loader.matching import Match, TensorInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One line of a tree: a module or a tensor; a module's change is `same` where nothing below it changed."""

    depth: int
    label: str
    key: str
    shape: str
    change: str
    title: str
    is_tensor: bool


def to_html(diagnosis: Diagnosis) -> str:
    """Return the report as one HTML document."""
    environment = Environment(autoescape=select_autoescape(default=True), trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("app_loader.diagnosis").joinpath("report.html.j2").read_text("utf-8"))
    by_key = {tensor.key: tensor for tensor in diagnosis.old}
    shapes = {tensor.key: tensor.shape for tensor in diagnosis.new}
    changes = {match.new: _change(match, by_key, shapes.get(match.new)) for match in diagnosis.matches}
    gone_to: dict[str, tuple[str, str]] = {}
    for match in diagnosis.matches:
        for key in _flat(match.old):
            gone_to.setdefault(key, (changes[match.new], match.new))
        if match.old is None and match.new in by_key:
            gone_to.setdefault(match.new, (changes[match.new], match.new))
    old = _tree(diagnosis.old, {t.key: gone_to.get(t.key, ("gone", ""))[0] for t in diagnosis.old}, {})
    titles = {match.new: "; ".join(match.evidence) for match in diagnosis.matches}
    new = _tree(diagnosis.new, changes, titles)
    links = [
        {"from": key, "to": match.new, "change": changes[match.new]}
        for match in diagnosis.matches
        for key in _flat(match.old)
        if changes[match.new] != "same"
    ]
    skipped = dict(diagnosis.skipped)
    stages = [(stage, diagnosis.of_stage(stage), skipped.get(stage, "")) for stage in STAGES]
    return template.render(d=diagnosis, stages=stages, old=old, new=new, links=links)


def _change(match: Match, old: dict[str, TensorInfo], shape: tuple[int, ...] | None) -> str:
    before = old.get(match.new)
    if match.confidence == "abstain" or match.old is None:
        if before is None:
            return "new"
        return "unsure" if match.new in match.candidates else "resized"
    if match.confidence == "suggest":
        return "unsure"
    if match.op != "copy":
        return "composed"
    if match.old != match.new:
        return "renamed"
    return "same" if before is None or before.shape == shape else "resized"


def _tree(tensors: Sequence[TensorInfo], changes: dict[str, str], titles: dict[str, str]) -> list[_Row]:
    changed = {
        tuple(path[:depth])
        for tensor in tensors
        if changes.get(tensor.key, "new") != "same"
        for path in (tensor.key.split("."),)
        for depth in range(1, len(path))
    }
    rows: list[_Row] = []
    open_path: list[str] = []
    for tensor in tensors:
        *path, leaf = tensor.key.split(".")
        shared = 0
        while shared < min(len(path), len(open_path)) and path[shared] == open_path[shared]:
            shared += 1
        for depth in range(shared, len(path)):
            kind = f" {tensor.module_type}" if depth == len(path) - 1 and tensor.module_type else ""
            change = "" if tuple(path[: depth + 1]) in changed else "same"
            label = path[depth] + kind
            rows.append(_Row(depth=depth, label=label, key="", shape="", change=change, title="", is_tensor=False))
        open_path = path
        rows.append(
            _Row(
                depth=len(path),
                label=leaf,
                key=tensor.key,
                shape=" x ".join(map(str, tensor.shape)) or "number",
                change=changes.get(tensor.key, "new"),
                title=titles.get(tensor.key, tensor.key),
                is_tensor=True,
            )
        )
    return rows


def _flat(source: Any) -> tuple[str, ...]:
    if source is None:
        return ()
    return (source,) if isinstance(source, str) else tuple(key for part in source for key in _flat(part))
