"""A draft is Python made of what an archive says, and nothing that the archive says becomes code in it."""

from __future__ import annotations

import ast
from dataclasses import replace

import pytest
from app_loader.diagnosis.finding import Finding
from app_loader.migration.draft.source_renames import AttributeRename
from app_loader.migration.draft.text import format_revision
from policy_interface.migrations import Choose

EVIL = [
    'x"""; open("ran", "w"); """',
    '", reviewed=True, summary=open("ran", "w").name, since="',
    "x\nopen('ran', 'w')",
    "x\r        open('ran', 'w'), #",
    '\\", open("ran", "w"), \\',
    "x\\",
]


@pytest.mark.parametrize("evil", EVIL)
def test_no_text_of_an_archive_becomes_code_of_the_draft(evil: str) -> None:
    finding = Finding(stage="config", severity="error", subject=evil, message=evil, old=evil, new=evil)
    changes = [
        replace(finding, change=change, evidence=(evil,), candidates=(evil,))
        for change in ("schema", "kind", "renamed", "moved", "unknown", "new", "required", "refused")
    ]
    text = format_revision(
        kind=evil,
        version=evil,
        parent=evil,
        written_by=evil,
        config=changes,
        tensors=[Choose(key=evil, candidates=(evil, evil), evidence=(evil,))],
        renames=[AttributeRename(owner="A", old="b", new="c", value=evil)],
        tried=None,
        met=False,
        notes=[evil],
    )
    tree = ast.parse(text)
    assert [type(each) for each in tree.body] == [ast.Expr, ast.ImportFrom, ast.Assign]
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert "open" not in called
    revision = tree.body[2]
    assert isinstance(revision, ast.Assign)
    assert isinstance(revision.value, ast.Call)
    given = {each.arg: each.value for each in revision.value.keywords}
    assert ast.literal_eval(given["kinds"]) == (evil,)
    assert ast.literal_eval(given["since"]) == evil
    assert ast.literal_eval(given["reviewed"]) is False
