"""T2: another process, with the newest model zoo installed, loads what was trained at T1.

usage: python -m app_loader.demo.later ARCHIVE STORE
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import torch
from mpt_format import open_archive
from policy_interface import Policy, PolicyInterfaceError, origin_of
from rich.console import Console
from rich.markup import escape

from app_loader.code import find_installed
from app_loader.commands import complete
from app_loader.demo.train import ENVIRONMENT, actions_digest
from app_loader.errors import LoaderError
from app_loader.load import check_witness, load_policy
from app_loader.loaded import LoadedPolicy
from app_loader.store import Store
from app_loader.training import evaluate


def load_old_beside_new(path: Path, store: Store, console: Console) -> bool:
    """Load with the trained code beside the newest; return whether the policy did exactly what it did at T1."""
    policy = load_policy(path, store=store)
    console.print(f"[bold]load_policy({str(path)!r})[/bold]")
    console.print(f"  this policy   {escape(str(origin_of(policy.module)))}, {policy.origin.reason}")
    newest = _build_newest(policy)
    if newest is not None:
        console.print(f"  beside it     {escape(str(origin_of(newest.module)))}, a fresh one, in the same process")
    with open_archive(path) as archive:
        report = check_witness(policy, archive)
        training = cast("dict[str, Any]", archive.read_json("training.json"))
    console.print(f"  witness       replayed, equal {'bit for bit' if report.bit_equal else 'within its tolerance'}")
    then = training["evaluation"]
    now = evaluate(policy, training["env"], episodes=then["episodes"], seed=then["seed"])
    same: bool = list(now.returns) == then["returns"] and actions_digest(now) == then["actions_sha256"]
    verdict = "the returns of T1, action for action" if same else "NOT what the policy did at T1"
    console.print(f"  evaluation    mean return {now.mean_return:.1f} over {then['episodes']} episodes: {verdict}")
    return same


def try_newest(path: Path, store: Store, console: Console) -> None:
    """Load with the installed code and say what differs."""
    console.print(f"[bold]load_policy({str(path)!r}, code='current')[/bold]")
    try:
        policy = load_policy(path, code="current", store=store, verify="witness")
    except (LoaderError, PolicyInterfaceError) as error:
        for line in str(error).splitlines():
            console.print(f"  {line}", markup=False)
        return
    applied = ", ".join(policy.origin.revisions) or "none needed"
    console.print(f"  this policy   {escape(str(origin_of(policy.module)))}")
    console.print(f"  revisions     {applied}; the witness is met")


def _build_newest(policy: LoadedPolicy) -> Policy | None:
    """Return a fresh policy of the same kind from the installed code, after one step of it; None when there is none."""
    code = find_installed(policy.origin.distribution)
    kind = policy.architecture.kind
    if code is None or kind not in code.kinds():
        return None
    newest = code.architecture_class(kind)().make_policy(policy.rules)
    newest.act(torch.zeros(1, policy.rules.observation_size), newest.initial_state(1))
    return newest


def main(archive: str, store: str) -> int:
    """Run T2; exit code 1 when the policy is not what it was."""
    console = Console(highlight=False, soft_wrap=True)
    opened = Store(store)
    same = load_old_beside_new(Path(archive), opened, console)
    try_newest(Path(archive), opened, console)
    console.rule("next", align="left")
    for command in ("inspect ARCHIVE", "load ARCHIVE", f"eval ARCHIVE --env {ENVIRONMENT}", "diagnose ARCHIVE"):
        console.print(f"  uv run {complete(f'mpt {command}', archive=archive, store=opened)}", markup=False)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
