"""Hold an archive against code, every stage, and say whether it would load.

Building happens on ``meta`` and nothing of the weights is read before the behaviour is asked for, so an archive of
any size is diagnosed
in seconds. Nothing from the archive runs; the code that runs is the one that `load_policy` would take, under the same
rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mpt_format import Archive, ManifestError, MptError, open_archive
from policy_interface import GameRules, InvalidConfigError, Policy, PolicyArchitecture
from policy_interface.errors import PolicyInterfaceError

from app_loader.build import build_on_meta
from app_loader.code import Code
from app_loader.diagnosis.carried import Sources, carried_match, judge_carried
from app_loader.diagnosis.config_stage import assumed_document, judge_config
from app_loader.diagnosis.explain import Sizes
from app_loader.diagnosis.finding import STAGES, Finding
from app_loader.diagnosis.keys_stage import DRAFT, judge_dimensions, judge_keys, judge_modules, judge_wrapper
from app_loader.diagnosis.libraries_stage import judge_libraries, judge_ranges
from app_loader.diagnosis.report import Diagnosis
from app_loader.diagnosis.rules_stage import judge_rules
from app_loader.errors import BuildError, LoaderError, MigrationError, UnknownKindError, WitnessError
from app_loader.judge import find_outside
from app_loader.matching import Match, TensorInfo, match_tensors
from app_loader.revisions import follow
from app_loader.revisions.history import read_known_history
from app_loader.revisions.route import find_route
from app_loader.revisions.signatures import module_signature, read_archive_signature
from app_loader.revisions.wrapper import find_wrapper
from app_loader.store import Store

MAX_BEHAVIOUR_BYTES = 2 << 30
"""Replaying a witness reads every weight; above this it is left out unless asked for."""


def diagnose(
    path: str | Path,
    *,
    code: str = "current",
    rules: GameRules | None = None,
    store: Store | str | Path | None = None,
    behaviour: bool | None = None,
) -> Diagnosis:
    """Compare an archive with code, stage by stage; every stage is looked at whatever the ones before it found.

    Args:
        path: the archive.
        code: ``current``, ``trained`` or a version, as for `load_policy`.
        rules: today's game rules; None leaves that stage out.
        store: the store of wheels.
        behaviour: whether to load the weights and replay the witness; None does so up to 2 GiB of weights.

    Raises:
        ArchiveNotFoundError: there is no such file. Whatever else is wrong with it is a finding.
    """
    opened = store if isinstance(store, Store) else Store(store)
    try:
        archive = open_archive(path)
    except MptError as error:
        if type(error).__name__ == "ArchiveNotFoundError":
            raise
        return _unreadable(str(path), code, error)
    with archive:
        return _Work(archive, code, rules, opened, behaviour).run()


def _unreadable(path: str, code: str, error: MptError) -> Diagnosis:
    return Diagnosis(
        archive=path,
        written_by="unknown",
        code=code,
        would_load=False,
        refusal=str(error),
        revisions=(),
        findings=tuple(_format_findings(path, error)),
        skipped=tuple((stage, "the archive cannot be read") for stage in STAGES if stage != "format"),
        old=(),
        new=(),
        matches=(),
    )


def _format_findings(path: str, error: MptError) -> Iterator[Finding]:
    """Give every problem of an archive that was refused, each where it lies."""
    for problem in getattr(error, "problems", ()) or (str(error),):
        yield Finding(
            stage="format",
            severity="error",
            subject=str(getattr(problem, "where", path)),
            message=str(getattr(problem, "message", problem)),
            next_command=f"mpt verify {path}",
        )


class _Work:
    """One diagnosis in the making."""

    def __init__(
        self, archive: Archive, requested: str, rules: GameRules | None, store: Store, behaviour: bool | None
    ) -> None:
        self.archive = archive
        self.requested = requested
        self.rules = rules
        self.store = store
        self.behaviour = behaviour
        self.findings: list[Finding] = []
        self.skipped: list[tuple[str, str]] = []
        self.new: list[TensorInfo] = []
        self.matches: list[Match] = []
        self.sources: Sources = {}
        self.old, self.tied = read_archive_signature(archive)

    def run(self) -> Diagnosis:
        """Look at every stage and give the verdict."""
        from app_loader.load import check_resolution, resolve_archive

        archive = self.archive
        self._format()
        old_rules = self._old_rules()
        if self.rules is not None and old_rules is not None:
            self.findings += judge_rules(old_rules, self.rules)
        elif self.rules is None:
            self.skipped.append(("rules", "no rules of today were given (--rules)"))
        named, chosen = self.requested, None
        try:
            chosen = check_resolution(archive, resolve_archive(archive, self.requested, self.store))
            named = f"{chosen.distribution} {chosen.version}"
        except (LoaderError, ManifestError) as error:
            self._refuse_code(error)
        if chosen is not None:
            self._code_stages(chosen, old_rules)
        recorded = archive.manifest.environment
        self.findings += judge_libraries(recorded)
        self.findings += judge_ranges([] if chosen is None else find_outside(chosen, recorded), named)
        would_load, refusal, revisions = self._verdict(chosen)
        if would_load and revisions:
            self.findings = [_followed(finding) for finding in self.findings if finding.stage != "keys"]
            self.findings += judge_carried(self.old, self.new, self.sources)
            self.matches = [carried_match(match, self.sources) for match in self.matches]
        record = archive.manifest.code
        return Diagnosis(
            archive=str(archive.path),
            written_by=f"{record.distribution} {record.version}" if record else "unknown code",
            code=named,
            would_load=would_load,
            refusal=refusal,
            revisions=revisions,
            findings=tuple(self._aimed(finding) for finding in self.findings),
            skipped=tuple(self.skipped),
            old=tuple(self.old),
            new=tuple(self.new),
            matches=tuple(self.matches),
        )

    def _aimed(self, finding: Finding) -> Finding:
        """Return the finding with a next command that is about the code that was asked for."""
        if self.requested == "trained":
            return finding
        return replace(finding, next_command=finding.next_command.replace("--to current", f"--to {self.requested}"))

    def _format(self) -> None:
        try:
            self.archive.verify("quick")
        except MptError as error:
            self.findings += _format_findings(str(self.archive.path), error)

    def _old_rules(self) -> GameRules | None:
        try:
            return None if self.archive.game_rules is None else GameRules.from_document(self.archive.game_rules)
        except (InvalidConfigError, MptError) as error:
            self.findings.append(
                Finding(stage="rules", severity="error", subject="game_rules.json", message=f"cannot be read: {error}")
            )
            return None

    def _refuse_code(self, error: Exception) -> None:
        self.findings.append(
            Finding(
                stage="config",
                severity="error",
                subject="code",
                message=str(error).splitlines()[0],
                evidence=tuple(line.strip() for line in str(error).splitlines()[1:]),
                next_command=getattr(error, "next_command", ""),
            )
        )
        for stage in ("config", "keys", "dimensions", "modules", "behaviour"):
            self.skipped.append((stage, "there is no code to compare with"))

    def _code_stages(self, code: Code, old_rules: GameRules | None) -> None:
        document = self.archive.architecture
        cls = self._find_class(code, str(document.get("kind")))
        if cls is None:
            for stage in ("config", "keys", "dimensions", "modules", "behaviour"):
                self.skipped.append((stage, f"{code.distribution} {code.version} has no such kind"))
            return
        record = self.archive.manifest.architecture
        self.findings += judge_config(document, cls, record.config_sources if record else {})
        self._revisions(code)
        self._tensors(code, cls, old_rules)

    def _find_class(self, code: Code, kind: str) -> type[PolicyArchitecture] | None:
        try:
            return code.architecture_class(kind)
        except UnknownKindError as error:
            self.findings.append(
                Finding(
                    stage="config",
                    severity="error",
                    subject="kind",
                    message=f"{code.distribution} {code.version} has no architecture of kind {kind!r}",
                    old=kind,
                    candidates=error.declared,
                    next_command="mpt load ARCHIVE --code trained",
                )
            )
        except Exception as error:  # whatever importing raises is a fact about that code
            self.findings.append(
                Finding(
                    stage="config",
                    severity="error",
                    subject="import",
                    message=f"the code cannot be imported: {type(error).__name__}: {error}",
                )
            )
        return None

    def _revisions(self, code: Code) -> None:
        try:
            graph = read_known_history(code)
            if not graph.revisions:
                self.skipped.append(("revisions", f"{code.distribution} {code.version} declares no revisions"))
                return
            route = find_route(self.archive.manifest, self.archive.architecture, code, subject=str(self.archive.path))
        except MigrationError as error:
            for problem in error.problems:
                self.findings.append(
                    Finding(
                        stage="revisions",
                        severity="error",
                        subject="revisions",
                        message=problem,
                        next_command=error.next_command,
                    )
                )
            return
        for revision in route.revisions:
            self.findings.append(
                Finding(
                    stage="revisions",
                    severity="note",
                    subject=revision.id,
                    message=("undone on the way: " if route.backwards else "followed on the way: ") + revision.summary,
                    new=revision.since,
                )
            )

    def _tensors(self, code: Code, cls: type[PolicyArchitecture], old_rules: GameRules | None) -> None:
        document = self.archive.architecture
        try:
            architecture = cls.from_document(assumed_document(document, cls))
            rules = self.rules or old_rules
            if rules is None:
                raise BuildError(code.version, stage="rules", cause="there are no game rules to build for")
            policy = self._build(architecture, rules, old_rules, code)
        except (PolicyInterfaceError, LoaderError) as error:
            reason = f"the code does not build from the archive's config: {str(error).splitlines()[0]}"
            for stage in ("keys", "dimensions", "modules"):
                self.skipped.append((stage, reason))
            return
        module = policy.module
        if module is None:
            self.skipped.append(("keys", "the policy has no module in this process"))
            return
        self.new, tied_new = module_signature(module)
        self.matches = match_tensors(self.old, self.new, tied_old=self.tied, tied_new=tied_new)
        sizes = Sizes.of(document.get("config", {}), architecture.to_document()["config"], old_rules, policy.rules)
        wrapper = find_wrapper({t.key for t in self.old}, {t.key for t in self.new})
        if wrapper is None or self.requested == "trained":
            self.findings += judge_keys(self.old, self.new, self.matches, self.tied)
        else:
            self.findings += judge_wrapper(wrapper, len(self.old))
        self.findings += judge_dimensions(self.old, self.new, sizes)
        self.findings += judge_modules(self._old_modules(), dict(_modules(module)))

    def _build(
        self, architecture: PolicyArchitecture, rules: GameRules, fallback: GameRules | None, code: Code
    ) -> Policy:
        subject = f"{architecture.kind} of {code.distribution} {code.version}"
        try:
            return build_on_meta(architecture, rules, subject=subject)
        except BuildError:
            if fallback is None or fallback == rules:
                raise
            return build_on_meta(architecture, fallback, subject=subject)

    def _old_modules(self) -> dict[str, tuple[str, int | None]]:
        return {path: (record.type, record.version) for path, record in self.archive.manifest.modules.items()}

    def _verdict(self, code: Code | None) -> tuple[bool, str, tuple[str, ...]]:
        from app_loader.load import check_witness, load_with, resolve_archive

        if code is None:
            return False, "no code to load it with", ()
        weights = self._weight_bytes()
        replay = self.behaviour if self.behaviour is not None else weights <= MAX_BEHAVIOUR_BYTES
        try:
            loaded = load_with(self.archive, resolve_archive(self.archive, self.requested, self.store))
        except (LoaderError, PolicyInterfaceError) as error:
            self.skipped.append(("behaviour", "it does not load"))
            return False, str(error), ()
        revisions = loaded.origin.revisions
        if loaded.route is not None:
            self.sources = follow(self.archive, loaded.route).sources
        if not replay:
            self.skipped.append(("behaviour", f"{weights} bytes of weights would be read; ask with --behaviour"))
        elif self.archive.manifest.witness is None:
            self.skipped.append(("behaviour", "the archive has no witness"))
        else:
            try:
                check_witness(loaded, self.archive)
            except WitnessError as error:
                self._behaviour(error)
                return False, "it does not do what its witness recorded", revisions
        if self.rules is not None:
            try:
                loaded.adapt(self.rules)
            except PolicyInterfaceError as error:
                return False, str(error), revisions
        return True, "", revisions

    def _weight_bytes(self) -> int:
        return sum(member.size_bytes for name, member in self.archive.members.items() if name == "weights.safetensors")

    def _behaviour(self, error: WitnessError) -> None:
        silent = not any(f.severity == "error" for f in self.findings if f.stage in ("config", "keys", "dimensions"))
        evidence = ("no key, shape or config field shows this change: only the witness does",) if silent else ()
        for d in error.report.differences if error.report else ():
            if d.within:
                continue
            told = d.note or f"{d.differing} of {d.elements} outside the tolerance, the largest by {d.largest:.3g}"
            self.findings.append(
                Finding(
                    stage="behaviour",
                    severity="error",
                    subject=d.name,
                    message=f"the output {d.name!r} is not what was recorded: {told}",
                    evidence=evidence,
                    next_command="mpt load ARCHIVE --code trained" if silent else DRAFT,
                )
            )


def _followed(finding: Finding) -> Finding:
    """Return a difference that the reviewed revisions carry over: it is told and no longer in the way."""
    if finding.severity == "note" or finding.stage not in ("config", "dimensions", "modules"):
        return finding
    return replace(finding, severity="note", next_command="")


def _modules(module: Any) -> Iterator[tuple[str, tuple[str, int | None]]]:
    from app_loader.save import type_name

    versions = getattr(module.state_dict(), "_metadata", {})
    for path, child in module.named_modules(remove_duplicate=False):
        yield path, (type_name(type(child)), versions.get(path, {}).get("version"))
