"""Hold an archive against code, every stage, and say whether it would load.

Building happens on ``meta`` and nothing of the weights is read before the behaviour is asked for, so an archive of any
size is diagnosed in seconds. Nothing from the archive runs; the code that runs is the one that `load_policy` would
take, under the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mpt_format import Archive, ManifestError, MptError, open_archive
from policy_interface import GameRules, InvalidConfigError

from app_loader.code import Code
from app_loader.commands import complete
from app_loader.diagnosis.carried import carried_match, judge_carried
from app_loader.diagnosis.config_stage import judge_config
from app_loader.diagnosis.finding import DRAFT, STAGES, Finding
from app_loader.diagnosis.format_stage import judge_format
from app_loader.diagnosis.kind_stage import find_kind
from app_loader.diagnosis.libraries_stage import judge_libraries, judge_ranges
from app_loader.diagnosis.report import Diagnosis
from app_loader.diagnosis.revisions_stage import Way, find_way
from app_loader.diagnosis.rules_stage import judge_rules
from app_loader.diagnosis.tensors_stage import Before, TensorsSeen, judge_tensors
from app_loader.diagnosis.verdict import MAX_BEHAVIOUR_BYTES as MAX_BEHAVIOUR_BYTES  # released under this name: kept
from app_loader.diagnosis.verdict import Verdict, judge_behaviour, judge_loading
from app_loader.errors import LoaderError
from app_loader.judge import find_outside
from app_loader.revisions.signatures import migrated_signature, read_archive_signature
from app_loader.store import Store

_TENSOR_STAGES = ("keys", "dimensions", "modules")
_LOAD_TRAINED = "mpt load ARCHIVE --code trained"


def diagnose(
    path: str | Path,
    *,
    code: str = "current",
    rules: GameRules | None = None,
    store: Store | str | Path | None = None,
    behaviour: bool | None = None,
    rules_file: str = "",
) -> Diagnosis:
    """Compare an archive with code, stage by stage; every stage is looked at whatever the ones before it found.

    Args:
        path: the archive.
        code: ``current``, ``trained`` or a version, as for `load_policy`.
        rules: today's game rules; None leaves that stage out.
        store: the store of wheels.
        behaviour: whether to load the weights and replay the witness; None does so up to 2 GiB of weights.
        rules_file: where the rules were read from, for the next commands.

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
        return _Work(archive, code, rules, opened, behaviour, rules_file).run()


def _unreadable(path: str, code: str, error: MptError) -> Diagnosis:
    found = (replace(f, next_command=complete(f.next_command, archive=path)) for f in judge_format(path, error))
    return Diagnosis(
        archive=path,
        written_by="unknown",
        code=code,
        would_load=False,
        refusal=str(error),
        revisions=(),
        findings=tuple(found),
        skipped=tuple((stage, "the archive cannot be read") for stage in STAGES if stage != "format"),
        old=(),
        new=(),
        matches=(),
    )


class _Work:
    """One diagnosis in the making."""

    def __init__(
        self,
        archive: Archive,
        requested: str,
        rules: GameRules | None,
        store: Store,
        behaviour: bool | None,
        rules_file: str,
    ) -> None:
        self.archive = archive
        self.requested = requested
        self.rules = rules
        self.store = store
        self.behaviour = behaviour
        self.rules_file = rules_file
        self.findings: list[Finding] = []
        self.skipped: list[tuple[str, str]] = []
        self.old, self.tied = read_archive_signature(archive)
        self.seen = TensorsSeen()
        self.way = Way()
        self.fits = False

    def run(self) -> Diagnosis:
        """Look at every stage and give the verdict."""
        archive, recorded = self.archive, self.archive.manifest.environment
        self._format()
        old_rules = self._old_rules()
        self._rules(old_rules)
        code, named = self._code()
        verdict = Verdict(would_load=False, fits=False, refusal="no code to load it with")
        if code is not None:
            verdict = judge_loading(archive, self.requested, self.store, self.rules, self.behaviour)
            self.fits = verdict.fits
            self._code_stages(code, verdict, old_rules)
            self._behaviour(verdict)
        self.findings += judge_libraries(recorded)
        self.findings += judge_ranges([] if code is None else find_outside(code, recorded), named)
        record = archive.manifest.code
        return Diagnosis(
            archive=str(archive.path),
            written_by=f"{record.distribution} {record.version}" if record else "unknown code",
            code=named,
            would_load=verdict.would_load,
            refusal=verdict.refusal,
            revisions=verdict.revisions,
            findings=tuple(self._aimed(finding) for finding in self.findings),
            skipped=tuple(self.skipped),
            old=tuple(self.old),
            new=self.seen.new,
            matches=self.seen.matches,
        )

    def _format(self) -> None:
        try:
            self.archive.verify("quick")
        except MptError as error:
            self.findings += judge_format(str(self.archive.path), error)

    def _old_rules(self) -> GameRules | None:
        try:
            return None if self.archive.game_rules is None else GameRules.from_document(self.archive.game_rules)
        except (InvalidConfigError, MptError) as error:
            said = f"cannot be read: {error}"
            self.findings.append(Finding(stage="rules", severity="error", subject="game_rules.json", message=said))
            return None

    def _rules(self, old_rules: GameRules | None) -> None:
        if self.rules is None:
            self.skipped.append(("rules", "no rules of today were given (--rules)"))
        elif old_rules is not None:
            self.findings += judge_rules(old_rules, self.rules)

    def _code(self) -> tuple[Code | None, str]:
        """Return the code to compare with, and what to call it."""
        from app_loader.load import check_resolution, resolve_archive

        try:
            code = check_resolution(self.archive, resolve_archive(self.archive, self.requested, self.store))
        except (LoaderError, ManifestError) as error:
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
            self._skip("there is no code to compare with", "revisions", *_TENSOR_STAGES, "behaviour")
            return None, self.requested
        return code, f"{code.distribution} {code.version}"

    def _code_stages(self, code: Code, verdict: Verdict, old_rules: GameRules | None) -> None:
        archive, named = self.archive, f"{code.distribution} {code.version}"
        self.way = (
            find_way(archive, code) if self.requested != "trained" else Way(skipped="the trained code needs none")
        )
        carried = verdict.fits and bool(verdict.revisions)
        before = self._before(old_rules, followed=not verdict.fits)
        wanted = str((self.way.migrated.architecture if self.way.migrated else before.document).get("kind"))
        kind = find_kind(code, wanted)
        found = list(kind.findings)
        if kind.cls is not None:
            record = archive.manifest.architecture
            found += judge_config(before.document, kind.cls, record.config_sources if record else {})
            self.seen = judge_tensors(before, kind.cls, self.rules, named)
        else:
            self.seen = TensorsSeen(skipped=f"{named} has no kind {wanted!r}")
        tensors = list(self.seen.findings)
        if carried:
            found = [_followed(finding) for finding in found]
            tensors = [_followed(finding) for finding in tensors if finding.stage != "keys"]
            tensors = [*judge_carried(self.old, self.seen.new, verdict.sources), *tensors]
            matches = tuple(carried_match(match, verdict.sources) for match in self.seen.matches)
            self.seen = replace(self.seen, matches=matches)
        if self.way.skipped:
            self._skip(self.way.skipped, "revisions")
        if self.seen.skipped:
            self._skip(self.seen.skipped, *_TENSOR_STAGES)
        self.findings += [*found, *self.way.findings, *tensors]

    def _before(self, rules: GameRules | None, *, followed: bool) -> Before:
        """Return the archive's side; at the end of the reviewed way where something beyond that is in the way."""
        archive, migrated = self.archive, self.way.migrated
        document: Mapping[str, Any] = archive.architecture
        if followed and migrated is not None:
            document = migrated.architecture
            self.old, self.tied = migrated_signature(migrated, archive)
        return Before(
            document=document,
            tensors=self.old,
            tied=self.tied,
            modules={path: (record.type, record.version) for path, record in archive.manifest.modules.items()},
            rules=rules,
            as_trained=self.requested == "trained",
        )

    def _behaviour(self, verdict: Verdict) -> None:
        if verdict.not_replayed:
            self._skip(verdict.not_replayed, "behaviour")
        if verdict.unmet is not None:
            wrong = (f for f in self.findings if f.severity == "error")
            silent = not any(f.stage in ("config", "keys", "dimensions") for f in wrong)
            unseen = silent and not any(f.stage == "modules" for f in self.findings)
            self.findings += judge_behaviour(
                verdict.unmet, silent=unseen, next_command=_LOAD_TRAINED if silent else DRAFT
            )

    def _skip(self, reason: str, *stages: str) -> None:
        self.skipped += [(stage, reason) for stage in stages]

    def _aimed(self, finding: Finding) -> Finding:
        """Return the finding with a next command that can be pasted: about this archive, this code and this store.

        Where the history itself is broken, nothing can be drafted before that is mended.
        """
        command = finding.next_command
        if command == DRAFT:
            command = self.way.next_command or command
        if self.requested != "trained":
            command = command.replace("--to current", f"--to {self.requested}")
        if command.startswith("mpt load ARCHIVE --rules"):
            code = self.requested if self.fits else "trained"
            command = command.replace("--rules", f"--code {code} --rules")
        path = str(self.archive.path)
        return replace(finding, next_command=complete(command, archive=path, store=self.store, rules=self.rules_file))


def _followed(finding: Finding) -> Finding:
    """Return a difference that the reviewed revisions carry over: it is told and no longer in the way."""
    if finding.severity == "note" or finding.stage not in ("config", "dimensions", "modules"):
        return finding
    return replace(finding, severity="note", next_command="")
