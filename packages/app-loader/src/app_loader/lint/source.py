"""The judgement of one source text: every place where it knows concrete model code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from app_loader.lint.finding import Finding, Rule
from app_loader.lint.zoos import Zoo

CAPABILITIES = frozenset({"logits", "log_prob", "value", "entropy"})
"""What a policy declares in `capabilities`. Source: policy_interface.Capability; a test compares."""

_CLASS_PATH = re.compile(r"^[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?:[.:][A-Za-z_]\w*)$")
_FILE_ENDINGS = frozenset({"py", "md", "txt", "json", "yaml", "yml", "toml", "log", "html", "csv", "pt", "mpt"})
_IMPORTERS = frozenset({"import_module", "__import__", "find_spec"})
_PROBES = frozenset({"getattr", "hasattr"})
_POLICY_WORDS = ("policy", "agent", "actor", "model", "output")


def lint_source(text: str, path: str, zoo: Zoo) -> list[Finding]:
    """Return the findings of one source text, in the order of its lines.

    Args:
        text: Python source.
        path: what the findings call the file.
        zoo: the model code that applications must not know.
    """
    try:
        tree = ast.parse(text, filename=path)
    except (SyntaxError, ValueError) as error:
        line, column = getattr(error, "lineno", None) or 1, getattr(error, "offset", None) or 1
        return [Finding(path=path, line=line, column=column, rule=Rule.UNREADABLE, what=str(error))]
    judge = _Judge(path, zoo)
    judge.visit(tree)
    return sorted(judge.findings, key=lambda finding: (finding.line, finding.column))


class _Judge(ast.NodeVisitor):
    def __init__(self, path: str, zoo: Zoo) -> None:
        self.path = path
        self.zoo = zoo
        self.findings: list[Finding] = []
        self.concrete: dict[str, str] = {}  # local name -> the zoo's name that it was imported from

    def report(self, node: ast.AST, rule: Rule, what: str) -> None:
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
        self.findings.append(Finding(path=self.path, line=line, column=column, rule=rule, what=what))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if self.zoo.owns(alias.name):
                self.report(node, Rule.IMPORT, f"import {alias.name}")
                self.concrete[alias.asname or alias.name.partition(".")[0]] = alias.name

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or node.module is None:
            return
        owned = [alias for alias in node.names if self.zoo.owns(f"{node.module}.{alias.name}")]
        if owned:
            self.report(node, Rule.IMPORT, f"from {node.module} import {', '.join(alias.name for alias in owned)}")
        for alias in owned:
            self.concrete[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and self._is_class_path(node.value):
            self.report(node, Rule.CLASS_PATH, repr(node.value))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Judge the texts of an f-string as well: ``f"my_zoo.{name}"`` is a class path in the making."""
        first = node.values[0] if node.values else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            module, dot, _ = first.value.rpartition(".")
            if dot and self.zoo.owns(module):
                self.report(node, Rule.CLASS_PATH, f"f{first.value!r}")
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                self.visit(value)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not (isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)):  # a docstring may name all
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in ("isinstance", "issubclass") and len(node.args) == 2:
            for concrete in self._concrete_classes(node.args[1]):
                self.report(node, Rule.ISINSTANCE, f"{name} against {concrete}")
        if name in _PROBES and len(node.args) >= 2:
            self._probe(node, name)
        called = node.func.attr if isinstance(node.func, ast.Attribute) else name
        if called in _IMPORTERS and node.args and isinstance(node.args[0], ast.Constant):
            module = node.args[0].value
            if isinstance(module, str) and "." not in module and self.zoo.owns(module):
                self.report(node, Rule.CLASS_PATH, f"{called}({module!r})")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for side in (node.left, *node.comparators):
            for constant in _texts(side):
                if constant.value in self.zoo.kinds:
                    self.report(constant, Rule.KIND, f"compared with the kind {constant.value!r}")
        self.generic_visit(node)

    def visit_MatchValue(self, node: ast.MatchValue) -> None:
        if isinstance(node.value, ast.Constant) and node.value.value in self.zoo.kinds:
            self.report(node, Rule.KIND, f"matched with the kind {node.value.value!r}")
        self.generic_visit(node)

    def _probe(self, node: ast.Call, name: str) -> None:
        wanted = node.args[1]
        if not (isinstance(wanted, ast.Constant) and isinstance(wanted.value, str)):
            return
        subject = ast.unparse(node.args[0])
        about_policy = any(word in subject.lower().rpartition(".")[2] for word in _POLICY_WORDS)
        if about_policy and (wanted.value in CAPABILITIES or name == "hasattr"):
            self.report(node, Rule.CAPABILITY, f"{name}({subject}, {wanted.value!r})")

    def _concrete_classes(self, node: ast.expr) -> Iterator[str]:
        if isinstance(node, ast.Tuple):
            for element in node.elts:
                yield from self._concrete_classes(element)
        elif isinstance(node, ast.BinOp):  # A | B
            yield from self._concrete_classes(node.left)
            yield from self._concrete_classes(node.right)
        elif isinstance(node, ast.Name | ast.Attribute):
            dotted = ast.unparse(node)
            root, _, rest = dotted.partition(".")
            if root in self.concrete:
                yield f"{self.concrete[root]}.{rest}" if rest else self.concrete[root]
            elif dotted.rpartition(".")[2] in self.zoo.classes:
                yield dotted

    def _is_class_path(self, text: str) -> bool:
        """Whether a text names a module or class of a zoo, as in ``zoo.layers``, ``zoo.layers.Net``, ``zoo:Net``."""
        if _CLASS_PATH.match(text) is None:  # a bare name may be anything: a project, a folder
            return False
        module, colon, attribute = text.partition(":")
        if colon:
            return self.zoo.owns(module) and ("." in module or attribute[:1].isupper())
        return self.zoo.owns(text) and text.rpartition(".")[2] not in _FILE_ENDINGS


def _texts(node: ast.expr) -> Iterator[ast.Constant]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node
    elif isinstance(node, ast.Tuple | ast.List | ast.Set):
        for element in node.elts:
            yield from _texts(element)
