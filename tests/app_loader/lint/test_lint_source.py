from __future__ import annotations

import pytest
from app_loader.lint import Rule, Zoo, lint_source
from app_loader.lint.source import CAPABILITIES
from policy_interface import Capability

ZOO = Zoo(
    modules=frozenset({"some_zoo", "framework.policies", "framework.Net"}),
    kinds=frozenset({"tiny_net"}),
    classes=frozenset({"TinyArchitecture"}),
)


def rules_of(text: str) -> list[tuple[int, Rule]]:
    return [(finding.line, finding.rule) for finding in lint_source(text, "app.py", ZOO)]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("import some_zoo", Rule.IMPORT),
        ("import numpy, some_zoo.layers as layers", Rule.IMPORT),
        ("from some_zoo.layers import Net", Rule.IMPORT),
        ("from framework import Net", Rule.IMPORT),
        ("from framework.policies.mlp import Mlp", Rule.IMPORT),
        ("def late():\n    import some_zoo", Rule.IMPORT),
        ("if TYPE_CHECKING:\n    from some_zoo import Net", Rule.IMPORT),
        ('path = "some_zoo.layers.Net"', Rule.CLASS_PATH),
        ('path = "some_zoo:Net"', Rule.CLASS_PATH),
        ('path = "some_zoo.layers:make"', Rule.CLASS_PATH),
        ('config = {"class": "framework.policies.Mlp"}', Rule.CLASS_PATH),
        ('path = f"some_zoo.{name}"', Rule.CLASS_PATH),
        ('importlib.import_module("some_zoo")', Rule.CLASS_PATH),
        ('__import__("some_zoo")', Rule.CLASS_PATH),
        ("isinstance(architecture, TinyArchitecture)", Rule.ISINSTANCE),
        ("issubclass(cls, (int, module.TinyArchitecture))", Rule.ISINSTANCE),
        ("isinstance(x, int | TinyArchitecture)", Rule.ISINSTANCE),
        ('if policy.architecture.kind == "tiny_net": pass', Rule.KIND),
        ('if kind in ("other", "tiny_net"): pass', Rule.KIND),
        ('match kind:\n    case "tiny_net": pass', Rule.KIND),
        ('getattr(policy, "value", None)', Rule.CAPABILITY),
        ('hasattr(self.policy, "hidden_state")', Rule.CAPABILITY),
        ('hasattr(agent, "entropy")', Rule.CAPABILITY),
        ("def broken(:", Rule.UNREADABLE),
    ],
)
def test_knowledge_of_model_code_is_found(text: str, rule: Rule) -> None:
    assert [found for _, found in rules_of(text)] == [rule]


@pytest.mark.parametrize(
    "text",
    [
        "import some_zoo_tools",
        "from framework import Environment",
        "from .some_zoo import Net",
        '"""Loads what some_zoo.layers.Net made."""',
        'project = "some_zoo"',
        'image = "some_zoo:latest"',
        'file = "some_zoo.yaml"',
        'print("we use some_zoo.layers today")',
        'policy = load_policy("tiny_net.mpt")',
        'getattr(environment, "value", None)',
        "getattr(policy, name)",
        "isinstance(policy, policy_interface.Policy)",
        "isinstance(number, int | float)",
    ],
)
def test_code_that_keeps_to_the_contract_is_left_alone(text: str) -> None:
    assert rules_of(text) == []


def test_class_is_followed_through_its_import_and_its_alias() -> None:
    text = "from some_zoo.layers import Net as N\nimport some_zoo.heads as h\nisinstance(a, N)\nisinstance(b, h.Head)\n"
    found = lint_source(text, "app.py", ZOO)
    assert [f.what for f in found if f.rule is Rule.ISINSTANCE] == [
        "isinstance against some_zoo.layers.Net",
        "isinstance against some_zoo.heads.Head",
    ]


def test_finding_says_where_what_and_what_instead() -> None:
    (finding,) = lint_source("x = 1\nif x:\n    import some_zoo\n", "app.py", ZOO)
    assert (finding.path, finding.line, finding.column) == ("app.py", 3, 5)
    assert "load_policy" in finding.instead
    assert finding.to_document()["rule"] == "import"


def test_capabilities_are_those_of_the_contract() -> None:
    assert {str(capability) for capability in Capability} == CAPABILITIES
