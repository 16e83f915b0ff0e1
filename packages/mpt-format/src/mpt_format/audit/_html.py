"""The audit as one self-contained page: the object tree with the findings marked, no script from elsewhere.

The tree is drawn from the symbolic graph up to a depth and a number of nodes; what is left out is said. All text from a
file goes through the template engine's escaping, and the page forbids scripts by its own policy.
"""

from __future__ import annotations

__all__ = ["TreeNode", "build_tree", "format_html"]

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from mpt_format.errors import escape_text

from ._causes import Causes, find_alike
from ._container import Candidate
from ._limits import Limits
from ._nodes import BigInt, ByteArray, Global, Node
from ._result import FileAudit
from ._structure import describe_node
from ._text import describe_answer, group_answers, suggest_changes
from ._walk import child_steps, format_step

if TYPE_CHECKING:
    from jinja2 import Template

_MAX_NODES = 4000
_MAX_DEPTH = 24
_MAX_CHILDREN = 400


@dataclass(slots=True, kw_only=True)
class TreeNode:
    """One line of the tree: how its parent reaches it, its type, its value if plain, and its finding if any."""

    label: str
    type: str
    value: str = ""
    severity: str = ""
    hint: str = ""
    path: str = ""
    parent: TreeNode | None = None
    open: bool = False
    """Whether its children are shown at first: it is the root, or a finding lies below it."""
    children: list[TreeNode] = field(default_factory=list)


def build_tree(candidate: Candidate, audit: FileAudit, limits: Limits) -> TreeNode | None:
    """The object tree of one stream, with the findings of the audit at their paths."""
    stream = candidate.stream
    if not stream.complete:
        return None
    marked = {finding.path: finding for finding in audit.findings if finding.stream == candidate.name and finding.path}
    for finding in audit.findings:
        if finding.stream == candidate.name:
            for path in finding.also_at:
                marked.setdefault(path, finding)
    root = TreeNode(label="root", type="", path="root", open=True)
    pending: list[tuple[Node, TreeNode, int]] = [(stream.root, root, 0)]
    seen: dict[int, str] = {}
    count = 0
    while pending:
        node, line, depth = pending.pop()
        described, tensor = describe_node(node)
        line.type = described
        if tensor is not None and tensor.kind != "unknown":
            line.value = f"{tensor.dtype} {list(tensor.shape)}"
        elif node is None or type(node) in (bool, int, float, str, bytes):
            line.value = _short(node)
        found = marked.get(escape_text(line.path))
        if found is not None:
            line.severity, line.hint = found.severity, f"{found.kind}: {found.hint}"
            above = line.parent
            while above is not None and not above.open:
                above.open, above = True, above.parent
        if tensor is not None or type(node) in (str, bytes, int, float, bool, memoryview, BigInt, ByteArray, Global):
            continue
        if node is None:
            continue
        if id(node) in seen:
            line.value = f"the same object as {seen[id(node)]}"
            continue
        seen[id(node)] = line.path
        if depth >= _MAX_DEPTH:
            line.children.append(TreeNode(label="...", type="deeper levels are left out"))
            continue
        below = []
        for at, (child, step) in enumerate(child_steps(node)):
            if at >= _MAX_CHILDREN or count >= _MAX_NODES:
                line.children.append(TreeNode(label="...", type="more entries are left out"))
                break
            count += 1
            text = format_step(step)
            inner = TreeNode(label=escape_text(text), type="", path=line.path + text, parent=line)
            line.children.append(inner)
            below.append((child, inner, depth + 1))
        pending.extend(reversed(below))
    return root


def _short(value: Node) -> str:
    if type(value) is int and value.bit_length() > 256:
        return f"<int of {value.bit_length()} bits>"
    text = repr(value[:120]) if type(value) in (str, bytes) else repr(value)
    return escape_text(text)


def format_html(pages: Sequence[tuple[FileAudit, TreeNode | None]], causes: Causes | None = None) -> str:
    """One HTML page about these files; those that say the same share one part, with the tree of the first."""
    entries, rows = [], {}
    for number, group in enumerate(find_alike([audit for audit, _ in pages]), 1):
        audit, tree = pages[group[0]]
        rows.update(
            {at: {"audit": pages[at][0], "file": escape_text(pages[at][0].file), "part": number} for at in group}
        )
        entries.append(
            {
                "audit": audit,
                "file": escape_text(audit.file),
                "alike": [escape_text(pages[at][0].file) for at in group[1:]],
                "answers": [(versions, describe_answer(answer)) for versions, answer in group_answers(audit.torch)],
                "changes": suggest_changes(audit),
                "tree": tree,
            }
        )
    shown = [
        {"severity": cause.severity, "count": cause.count, "what": escape_text(cause.what),
         "hint": escape_text(cause.hint), "example": escape_text(cause.example),
         "folders": [(escape_text(folder), count) for folder, count in cause.files.most_common()]}
        for cause in (causes.ranked() if causes is not None and len(pages) > 1 else ())
    ]  # fmt: skip
    return _template().render(entries=entries, rows=[rows[at] for at in range(len(pages))], causes=shown)


@cache
def _template() -> Template:
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(files(__package__).joinpath("page.html.j2").read_text("utf-8"))
