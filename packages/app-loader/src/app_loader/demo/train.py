"""T1: a policy of the old model zoo is trained on CartPole and saved."""

from __future__ import annotations

import hashlib
from pathlib import Path

import gymnasium
import torch
from policy_interface import PolicyArchitecture
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from app_loader.code import StoredCode
from app_loader.environments.gymnasium import rules_from_env
from app_loader.save import save_policy
from app_loader.store import Store
from app_loader.training import Evaluation, TrainingProgress, evaluate, train_ppo

ENVIRONMENT = "CartPole-v1"
EPISODES = 20
SEED = 0
TARGET = 450.0
TOTAL_STEPS = 150_000


def train_and_save(store: Store, wheel: Path, path: Path, console: Console) -> None:
    """Put the wheel into the store, train with it, save the policy."""
    entry = store.add([wheel])
    code = StoredCode(entry)
    console.print(f"added {wheel.name} to the store {store.path}")
    architecture: type[PolicyArchitecture] = code.architecture_class("mlp_actor_critic")
    with gymnasium.make(ENVIRONMENT) as env:
        rules = rules_from_env(env)
    torch.manual_seed(SEED)
    policy = architecture().make_policy(rules)
    console.print(f"training {architecture.kind} of {code.distribution} {code.version} on {ENVIRONMENT}")
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[score]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=not console.is_terminal) as progress:
        task = progress.add_task("steps", total=TOTAL_STEPS, score="")

        def show(now: TrainingProgress) -> None:
            score = "" if now.mean_return is None else f"mean return {now.mean_return:.0f}"
            progress.update(task, completed=now.step, score=f"{now.step:,} steps  {score}")

        result = train_ppo(
            policy, ENVIRONMENT, total_steps=TOTAL_STEPS, seed=SEED, target_return=TARGET, on_progress=show
        )
    evaluation = evaluate(policy, ENVIRONMENT, episodes=EPISODES, seed=SEED)
    save_policy(
        policy,
        path,
        training={
            "algorithm": "ppo",
            "env": ENVIRONMENT,
            "steps": result.steps,
            "seed": SEED,
            "evaluation": {
                "episodes": EPISODES,
                "seed": SEED,
                "returns": list(evaluation.returns),
                "actions_sha256": actions_digest(evaluation),
            },
        },
    )
    console.print(
        f"trained {result.steps:,} steps in {result.elapsed_s:.0f} s; "
        f"mean return {evaluation.mean_return:.1f} over {EPISODES} seeded episodes; saved {path}"
    )


def actions_digest(evaluation: Evaluation) -> str:
    """Return the sha256 (hex) over every action of every episode, in order."""
    digest = hashlib.sha256()
    for actions in evaluation.actions:
        digest.update(actions.astype("int64").tobytes())
    return digest.hexdigest()
