"""From graph to findings: every offender with its path, kind, offset, count, severity and hint.

Walks a stream only when something in it is not plainly allowed. Every refused import, call and opcode becomes a
finding or part of one; the list is cut at the limits, worst first, and the counts stay whole.
"""

from __future__ import annotations

__all__ = ["collect_findings"]

from dataclasses import replace
from functools import cache

from mpt_format.errors import escape_text

from ._container import Candidate, Container
from ._container_findings import refused_container_finding, tell_of_container
from ._containers import open_container
from ._finding_list import FindingList
from ._further_names import find_further_names, find_used_globals
from ._hints import CONVERT_TO, describe_allowlisting
from ._judge import (
    Judgement,
    find_bytes,
    find_called_argument,
    judge_call,
    judge_function,
    judge_reference,
)
from ._limits import Limits
from ._names_known import find_kind
from ._nodes import (
    BigInt,
    ByteArray,
    Call,
    DictNode,
    Ext,
    Global,
    Node,
    Persistent,
    SetNode,
    TensorCall,
    Unresolvable,
)
from ._opcodes import opcode_name
from ._records import find_record_problems
from ._result import Finding, Severity
from ._result_type import result_type
from ._stream import APPEND, BUILD, SETITEM, Event
from ._tensors import storage_record
from ._torch_rules import find_refusal, torch_name
from ._torch_table import load_rules
from ._walk import Walk, walk_graph

_BYTE_OPCODES = frozenset({0x42, 0x43, 0x8E, 0x96, 0x8B, 0x49, 0x4C})
_NESTED = "torch.storage._load_from_bytes"


def collect_findings(container: Container, limits: Limits) -> tuple[list[Finding], dict[Severity, int], list[str]]:
    """The findings of a file, worst first and cut at the limits; how many there are of each severity; limits hit."""
    limits_hit = list(container.limits_hit)
    listed = FindingList(limits.findings)
    collector = _Collector(container, limits, listed)
    for problem in container.problems[:50]:
        listed.add(tell_of_container("malformed", "container", problem))
    at = 0
    while at < len(container.candidates):  # grows: pickles inside pickles are appended
        collector.examine(container.candidates[at])
        at += 1
    if container.torch_refusal and (container.candidates or container.kind == "pt2"):
        listed.add(refused_container_finding(container))
    for candidate in container.candidates:
        if candidate.stream.limit:
            limits_hit.append(f"{candidate.name + ': ' if candidate.name else ''}{candidate.stream.limit}")
    limits_hit.extend(listed.describe_cuts())
    return listed.get_sorted(), listed.get_counts(), limits_hit


@cache
def _load_facts() -> tuple[frozenset[str], frozenset[int]]:
    """Names and opcodes that every torch version takes."""
    versions = list(load_rules().values())
    allowed = frozenset.intersection(*(frozenset(rules.allowed) for rules in versions))
    opcodes = frozenset.intersection(*(rules.opcodes for rules in versions))
    return allowed, opcodes


class _Collector:
    """Examines the streams of a file, one after the other."""

    def __init__(self, container: Container, limits: Limits, listed: FindingList) -> None:
        self._container = container
        self._listed = listed
        self._limits = limits
        self._rules = load_rules()
        self._allowed, self._opcodes = _load_facts()
        self._told: set[int] = set()
        """Ids of the globals that another finding speaks of."""
        self._judged: dict[str, Judgement] = {}
        self._crowded: dict[str, Severity] = {}
        """Names of calls that are judged by their name alone, and of which no more are listed."""
        self._hints: dict[tuple[str, str, tuple[str, ...]], str] = {}

    def examine(self, candidate: Candidate) -> None:
        stream = candidate.stream
        if stream.problem:
            place = f"{candidate.name}: " if candidate.name else ""
            offset = stream.problem_offset + candidate.base
            self._listed.add(
                Finding(
                    path=None,
                    kind="pickle",
                    name=None,
                    offset=offset,
                    count=1,
                    severity="malformed",
                    hint=escape_text(f"{place}the pickle cannot be read past byte {offset}: {stream.problem}"),
                    stream=candidate.name,
                )
            )
        self._add_opcodes(candidate)
        self._check_records(candidate)
        summary = candidate.get_summary(self._container.storage_fields)
        for call, misuse in summary.misused:
            # a backend that is not torch's own may be installed where the file was written
            severity: Severity = "incompatible" if call.func.full_name == "torch.device" else "malformed"
            self._add_unplaced(
                candidate, "arguments", call.offset, f"{misuse}: no writer of torch's does that", severity
            )
        if summary.suspects:
            self._add_objects(candidate, summary.suspects)

    def _add_opcodes(self, candidate: Candidate) -> None:
        if not candidate.root and self._container.kind not in ("legacy", "pickle"):
            return  # torch.load never reads it
        for code, (offset, count) in sorted(candidate.stream.notes.items(), key=lambda item: item[1][0]):
            if code in self._opcodes:
                continue
            if code < 0:
                hint = "a Python 2 byte string that is no UTF-8: torch.load stops at it; save again from Python 3"
            else:
                hint = (
                    f"torch 2.9 and newer stop at opcode {opcode_name(code)}: save again with protocol 2, "
                    "the default of torch.save"
                )
            self._listed.add(
                Finding(
                    path=None,
                    kind="opcode",
                    name=opcode_name(abs(code)),
                    offset=offset + candidate.base,
                    count=count,
                    severity="incompatible",
                    hint=hint,
                    stream=candidate.name,
                )
            )

    def _check_records(self, candidate: Candidate) -> None:
        """Every storage that the main pickle names must be in the file, as long as it says."""
        problems = find_record_problems(self._container, candidate)
        self._container.record_problems.extend(problems)
        for problem in problems:
            short = problem.size_bytes is None or problem.size_bytes < problem.needed_bytes
            severity: Severity = "malformed" if short else "incompatible"
            self._add_unplaced(candidate, "storage", problem.offset, problem.describe(), severity)

    def _add_unplaced(
        self, candidate: Candidate, kind: str, offset: int, text: str, severity: Severity = "malformed"
    ) -> None:
        self._listed.add(
            Finding(
                path=None,
                kind=kind,
                name=None,
                offset=offset + candidate.base,
                count=1,
                severity=severity,
                hint=escape_text(text),
                stream=candidate.name,
            )
        )

    def _add_objects(self, candidate: Candidate, suspects: list[Event]) -> None:
        stream = candidate.stream
        with_bytes = any(code in stream.notes for code in _BYTE_OPCODES)
        changes: dict[int, list[Event]] = {}
        for event in suspects:
            if type(event) is tuple and event[1] in (BUILD, APPEND, SETITEM):
                target = event[2][0] if event[1] == BUILD else event[2]
                changes.setdefault(id(target), []).append(event)
        walk = walk_graph(stream.root, self._limits, with_bytes=with_bytes, changed=changes.keys())
        for index, node in enumerate(walk.nodes):
            kind = type(node)
            if kind is Call or kind is TensorCall:
                if type(node.func) is Global and (severity := self._crowded.get(node.func.full_name)) is not None:
                    self._listed.count(severity)  # the same as a thousand others
                    continue
            elif (kind is list or kind is tuple or kind is DictNode) and id(node) not in changes:
                continue
            self._add_node(candidate, walk, index, node, changes)
        self._add_discarded(candidate, walk, suspects)

    def _add_node(
        self, candidate: Candidate, walk: Walk, index: int, node: Node, changes: dict[int, list[Event]]
    ) -> None:
        kind = type(node)
        if isinstance(node, Call):
            if self._is_ordinary(node):
                self._add_subclass(candidate, walk, index, node)
                refused = self._find_refused_change(candidate, changes.get(id(node), []))
                if refused is not None:
                    self._add_rule(candidate, walk, index, node, refused)
                return
            self._add_call(candidate, walk, index, node, changes.get(id(node), []))
        elif kind is Global:
            if not self._is_allowed(node.full_name) and id(node) not in self._told:
                self._add_reference(candidate, walk, index, node)
        elif kind is Ext or kind is Unresolvable:
            self._add_reference(candidate, walk, index, node)
        elif kind is Persistent:
            if storage_record(node) is None and id(node) not in walk.callees:
                self._add_persistent(candidate, walk, index, node)
        elif kind in (bytes, memoryview, ByteArray, BigInt):
            name = "bytearray" if kind is ByteArray else "integer" if kind is BigInt else "bytes"
            self._put(candidate, walk, index, name, None, None, "incompatible", CONVERT_TO[name])
        elif kind is SetNode:
            name = "frozenset" if node.frozen else "set"
            if node.frozen or len(node):
                self._put(candidate, walk, index, name, None, None, "incompatible", CONVERT_TO[name])
        else:
            refused = self._find_refused_change(candidate, changes.get(id(node), []))
            if refused is not None:
                self._add_rule(candidate, walk, index, node, refused)

    def _is_ordinary(self, node: Call) -> bool:
        return type(node.func) is Global and self._is_allowed(node.func.full_name)

    def _is_allowed(self, name: str) -> bool:
        """Whether torch allows a name, or TorchScript's own loader, which runs no Python, takes it."""
        if name in self._allowed:
            return True
        return self._container.kind == "torchscript" and name.startswith(("__torch__.", "torch.jit._pickle."))

    def _is_asked(self, candidate: Candidate) -> bool:
        """Whether `torch.load` unpickles this stream, so that `add_safe_globals` has a meaning for it."""
        kind = self._container.kind
        return kind == "legacy" or (kind in ("torch-zip", "pickle") and candidate.root)

    def _add_subclass(self, candidate: Candidate, walk: Walk, index: int, node: Call) -> None:
        """A tensor of a class that torch does not allow, or that a function makes which nobody knows."""
        if node.func.full_name != "torch._tensor._rebuild_from_type_v2" or type(node.args) is not tuple:
            return
        named = [part for part in node.args[:2] if type(part) is Global and not self._is_allowed(part.full_name)]
        self._told.update(map(id, named))
        given = find_called_argument(node)
        if given is not None and given in named:
            self._put_judged(candidate, walk, index, judge_function(given.full_name), given.offset, [given], [])
            named.remove(given)
        if named:
            last = named[-1]
            judged = judge_reference(last)
            if judged.severity == "incompatible":
                judged = replace(judged, kind="tensor subclass")
            self._put_judged(candidate, walk, index, judged, node.offset, [*named], sorted(map(torch_name, named)))

    def _find_refused_change(self, candidate: Candidate, events: list[Event]) -> str | None:
        if events and self._is_asked(candidate):
            for rules in self._rules.values():
                refusal = find_refusal(events, rules)
                if refusal is not None:
                    return refusal.reason
        return None

    def _add_rule(self, candidate: Candidate, walk: Walk, index: int, node: Node, reason: str) -> None:
        offset = node.offset if isinstance(node, Call) else None
        hint = f"torch.load stops here: {reason}"
        self._put(candidate, walk, index, "rule", result_type(node), offset, "incompatible", hint)

    def _add_persistent(self, candidate: Candidate, walk: Walk, index: int, node: Persistent) -> None:
        pid = node.pid
        if type(pid) is tuple and pid and pid[0] in ("module", b"module"):
            hint = "a module saved with its source text (torch before 1.0): save module.state_dict()"
            self._put(candidate, walk, index, "nn.Module", None, node.offset, "incompatible", hint)
            return
        hint = "a persistent id that is no torch storage: only the program that wrote the file can resolve it"
        self._put(candidate, walk, index, "persistent id", None, node.offset, "suspicious", hint)

    def _add_reference(self, candidate: Candidate, walk: Walk, index: int, node: Node) -> None:
        judgement = judge_reference(node)
        if not self._listed.has_room(judgement.severity):
            self._listed.count(judgement.severity)
            return
        self._put_judged(candidate, walk, index, judgement, node.offset, [node], [])

    def _add_call(self, candidate: Candidate, walk: Walk, index: int, node: Call, changes: list[Event]) -> None:
        judgement = self._judge(node)
        if judgement.kind == "nested pickle":
            self._open_nested(candidate, node)
        if not self._listed.has_room(judgement.severity):
            self._listed.count(judgement.severity)
            if type(node.func) is Global and node.func.full_name in self._judged and judgement.kind != "nested pickle":
                self._crowded[node.func.full_name] = judgement.severity
            return
        events = [node.func] if type(node.func) is Global else []
        self._put_judged(
            candidate,
            walk,
            index,
            judgement,
            node.offset,
            [*events, node, *changes],
            sorted({*find_further_names(node), *map(torch_name, events)} - self._allowed),
        )

    def _judge(self, node: Call) -> Judgement:
        """Judge a call; the answer for a name whose kind does not depend on the call's shape is kept."""
        if type(node.func) is not Global:
            return judge_call(node)
        name = node.func.full_name
        known = self._judged.get(name)
        if known is None:
            known = judge_call(node)
            if known.severity == "incompatible" and known.kind == find_kind(name) != "object":
                self._judged[name] = known
        return known

    def _open_nested(self, candidate: Candidate, node: Call) -> None:
        raw = find_bytes(node.args[0]) if type(node.args) is tuple and node.args else None
        if raw is None or len(self._container.candidates) >= self._limits.streams:
            return
        if candidate.name.count("!storage@") >= self._limits.nesting:
            return
        inner = open_container(raw, self._limits, name=f"{candidate.name}!storage@{node.offset}", nesting=1)
        for found in inner.candidates:
            found.root = False
            self._container.candidates.append(found)

    def _put_judged(
        self,
        candidate: Candidate,
        walk: Walk | None,
        index: int,
        judgement: Judgement,
        offset: int,
        events: list[Event],
        extra: list[str],
    ) -> None:
        hint = self._hint(judgement, events, extra, self._is_asked(candidate))
        self._put(candidate, walk, index, judgement.kind, judgement.name, offset, judgement.severity, hint)

    def _hint(self, judgement: Judgement, events: list[Event], extra: list[str], asked: bool) -> str:
        parts = []
        if judgement.why:
            parts.append(judgement.why)
        if judgement.severity == "dangerous":
            parts.append("do not load this file outside a sandbox; ask where it comes from")
        else:
            instead = CONVERT_TO.get(judgement.kind)
            if instead:
                parts.append(f"write {instead}")
        if judgement.kind == "torch value":
            asked = False  # what holds it may be a module, which cannot be allow-listed
        if judgement.severity == "incompatible" and asked:
            shape = tuple(f"{event[1]}" for event in events if type(event) is tuple)
            key = (judgement.kind, judgement.name, (*shape, *extra))
            if key not in self._hints:
                self._hints[key] = describe_allowlisting(judgement.name, events, extra, self._rules)
            parts.append(self._hints[key])
        return "; ".join(parts)

    def _put(
        self,
        candidate: Candidate,
        walk: Walk | None,
        index: int,
        kind: str,
        name: str | None,
        offset: int | None,
        severity: Severity,
        hint: str,
    ) -> None:
        if not self._listed.has_room(severity):
            self._listed.count(severity)
            return
        path = walk.format_path(index) if walk is not None else None
        self._listed.add(
            Finding(
                path=None if path is None else escape_text(path),
                kind=kind,
                name=None if name is None else escape_text(name[:300]),
                offset=None if offset is None else offset + candidate.base,
                count=walk.references.get(index, 1) if walk is not None else 1,
                severity=severity,
                hint=escape_text(hint[:1200]),
                stream=candidate.name,
                also_at=tuple(escape_text(p) for p in walk.format_other_paths(index)) if walk is not None else (),
            )
        )

    def _add_discarded(self, candidate: Candidate, walk: Walk, suspects: list[Event]) -> None:
        """Imports and calls that the object does not contain: they run all the same."""
        reached, callees = walk.index, walk.callees
        used: set[int] | None = None
        for event in suspects:
            if id(event) in reached or id(event) in callees:
                continue
            kind = type(event)
            if isinstance(event, Call):
                callees.add(id(event.func))
                if self._is_ordinary(event):
                    continue
                judgement = judge_call(event)
                if judgement.severity != "dangerous" and judgement.kind != "code":
                    judgement = Judgement(
                        kind=judgement.kind,
                        name=judgement.name,
                        severity="suspicious",
                        why=f"{judgement.name} is called while loading and its result is not in the object",
                    )
                self._put_judged(candidate, None, 0, judgement, event.offset, [], [])
            elif kind in (Global, Ext, Unresolvable):
                if used is None:
                    used = find_used_globals(suspects)
                if kind is Global and (self._is_allowed(event.full_name) or id(event) in used):
                    continue
                judgement = judge_reference(event)
                if judgement.severity == "incompatible":
                    why = f"{judgement.name} is imported while loading and not in the object: importing runs the module"
                    judgement = replace(judgement, severity="suspicious", why=why)
                self._put_judged(candidate, None, 0, judgement, event.offset, [event], [])
