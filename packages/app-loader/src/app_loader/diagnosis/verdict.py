"""Whether an archive would load: by loading it, and by replaying its witness where that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mpt_format import Archive
from policy_interface import GameRules
from policy_interface.errors import PolicyInterfaceError

from app_loader.diagnosis.carried import Sources
from app_loader.diagnosis.finding import Finding
from app_loader.errors import LoaderError, WitnessError
from app_loader.revisions import follow
from app_loader.revisions.wrapper import tensor_keys
from app_loader.store import Store

MAX_BEHAVIOUR_BYTES = 2 << 30
"""Replaying a witness reads every weight; above this it is left out unless asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What loading said.

    Attributes:
        would_load: whether `load_policy` succeeds.
        fits: whether the weights fit the code; it may behave otherwise all the same.
        refusal: why it does not load, in words.
        revisions: ids of the revisions that were followed.
        sources: state-dict key of the code to the archive's keys, where revisions were followed.
        unmet: the error of the witness; None when it is met, or was not looked at.
        not_replayed: why the witness was not looked at; empty when it was.
    """

    would_load: bool
    fits: bool
    refusal: str = ""
    revisions: tuple[str, ...] = ()
    sources: Sources = field(default_factory=dict)
    unmet: WitnessError | None = None
    not_replayed: str = ""


def judge_loading(
    archive: Archive, requested: str, store: Store, rules: GameRules | None, behaviour: bool | None
) -> Verdict:
    """Load an archive and say what came of it.

    Args:
        archive: opened.
        requested: the code, as for `load_policy`.
        store: where it is looked for.
        rules: today's, to adapt to; None does not.
        behaviour: whether to replay the witness; None does so up to `MAX_BEHAVIOUR_BYTES`.
    """
    from app_loader.load import check_witness, load_with, resolve_archive

    try:
        loaded = load_with(archive, resolve_archive(archive, requested, store))
    except (LoaderError, PolicyInterfaceError) as error:
        return Verdict(would_load=False, fits=False, refusal=str(error), not_replayed="it does not load")
    revisions, sources = loaded.origin.revisions, {}
    if loaded.route is not None and loaded.module is not None:
        sources = dict(follow(archive, loaded.route).fitted(tensor_keys(loaded.module)).sources)
    weights = sum(m.size_bytes for name, m in archive.members.items() if name == "weights.safetensors")
    not_replayed, unmet, refusal = "", None, ""
    if behaviour is False or (behaviour is None and weights > MAX_BEHAVIOUR_BYTES):
        not_replayed = f"{weights} bytes of weights would be read; ask with --behaviour"
    elif archive.manifest.witness is None:
        not_replayed = "the archive has no witness"
    else:
        try:
            check_witness(loaded, archive)
        except WitnessError as error:
            unmet, refusal = error, "it does not do what its witness recorded"
        except Exception as error:  # whatever model code raises beside today's libraries is a fact about it
            refusal = f"its code raises while the witness is replayed: {type(error).__name__}: {error}"
            not_replayed = refusal
    if rules is not None and unmet is None:
        try:
            loaded.adapt(rules)
        except (LoaderError, PolicyInterfaceError) as error:
            refusal = str(error)
    return Verdict(
        would_load=not refusal,
        fits=True,
        refusal=refusal,
        revisions=revisions,
        sources=sources,
        unmet=unmet,
        not_replayed=not_replayed,
    )


def judge_behaviour(error: WitnessError, *, silent: bool, next_command: str) -> Iterator[Finding]:
    """Yield every output that is not what was recorded.

    Args:
        error: of the witness.
        silent: whether nothing else differs.
        next_command: what to run.
    """
    evidence = ("no key, shape or config field shows this change: only the witness does",) if silent else ()
    for d in error.report.differences if error.report else ():
        if d.within:
            continue
        told = d.note or f"{d.differing} of {d.elements} outside the tolerance, the largest by {d.largest:.3g}"
        yield Finding(
            stage="behaviour",
            severity="error",
            subject=d.name,
            message=f"the output {d.name!r} is not what was recorded: {told}",
            evidence=evidence,
            next_command=next_command,
        )
