"""The page of a policy whose keys are hostile: every name arrives as it is, and none becomes markup or a script."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

from app_loader.diagnosis import Diagnosis, diagnose
from app_loader.diagnosis.html import to_html
from app_loader.matching import Match, TensorInfo

NAMES = (
    "</script><script>document.title='caught'</script>",
    "<!--<script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    "&lt;b&gt;&amp;",
    "{{ 7 * 7 }}{% raw %}",
    "\u2028gewicht\u202e\u00e4\U0001f9e8",
    "w" * 300,
)


class _Page(HTMLParser):
    """The elements of a page as a browser's parser sees them: a script ends where `</script` stands."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.keys: dict[str, list[str]] = {"old": [], "new": []}
        self.scripts: list[str] = []
        self.tags: set[str] = set()
        self.handlers: list[str] = []
        self._side, self._in_script = "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attrs)
        self.handlers += [name for name in values if name.startswith("on")]
        if tag == "ul":
            self._side = str(values["class"]).split()[-1]
        if "data-key" in values:
            self.keys[self._side].append(str(values["data-key"]))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data


def tensors(prefix: str) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(
            key=f"{prefix}{name}.{block}.weight", shape=(2, 2), dtype="float32", kind="parameter",
            module_type=f"Layer{name[:40]}", order=order,
        )
        for order, (block, name) in enumerate((block, name) for block in range(60) for name in NAMES)
    )  # fmt: skip


def hostile(found: Diagnosis) -> Diagnosis:
    old, new = tensors("then."), tensors("now.")
    matches = tuple(
        Match(new=after.key, old=before.key, confidence="auto", evidence=(before.key,))
        for before, after in zip(old, new, strict=True)
    )
    findings = tuple(replace(f, subject=NAMES[0], message=NAMES[2], evidence=NAMES) for f in found.findings)
    return replace(found, archive=NAMES[0], refusal=NAMES[0], old=old, new=new, matches=matches, findings=findings)


def test_hostile_names_of_540_tensors_stay_names(zoo: Any) -> None:
    found = diagnose(zoo.save("0.1.0"), code="0.2.0", store=zoo.store)
    plain, page = _Page(to_html(found)), _Page(to_html(hostile(found)))
    assert page.keys["old"] == [tensor.key for tensor in tensors("then.")]
    assert page.keys["new"] == [tensor.key for tensor in tensors("now.")]
    assert len(page.scripts) == len(plain.scripts) == 2
    assert page.scripts[1] == plain.scripts[1]
    links = json.loads(page.scripts[0])
    assert [(link["from"], link["to"]) for link in links] == list(zip(*page.keys.values(), strict=True))
    assert page.tags <= plain.tags | {"details", "summary", "pre"}
    assert page.handlers == []
