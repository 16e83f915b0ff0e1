"""`mpt eval`: play seeded episodes with a checkpoint and tell the returns."""

from __future__ import annotations

import click
from mpt_format.cli.output import print_json

from app_loader.cli._options import code_option, json_option, store_option
from app_loader.cli._pastable import PastableCommand


@click.command("eval", cls=PastableCommand)
@click.argument("path", type=click.Path())
@click.option("--env", "environment", required=True, metavar="ID", help="A gymnasium environment's id.")
@click.option(
    "--episodes", type=click.IntRange(min=1), metavar="COUNT", default=20, show_default=True, help="How many to play."
)
@click.option(
    "--seed",
    type=int,
    metavar="NUMBER",
    default=0,
    show_default=True,
    help="Of the first episode, counted from 0; the i-th has this seed + i.",
)
@code_option("trained")
@store_option
@json_option("origin, returns and lengths")
def evaluate_archive(
    path: str, environment: str, episodes: int, seed: int, code: str, store: str | None, as_json: bool
) -> None:
    """Play episodes with the deterministic actions of a policy.

    \b
    Examples:
      mpt eval run.mpt --env CartPole-v1
      mpt eval run.mpt --env CartPole-v1 --episodes 5 --seed 7
      mpt eval run.mpt --env CartPole-v1 --code current --json
    """  # noqa: D301
    from statistics import fmean, pstdev

    from app_loader.environments.extra import check_gymnasium

    check_gymnasium("mpt eval")
    from app_loader.environments.named import make_environment
    from app_loader.load import load_policy
    from app_loader.training import evaluate

    factory = make_environment(environment)
    policy = load_policy(path, code=code, store=store)
    evaluation = evaluate(policy, factory, episodes=episodes, seed=seed)
    document = {
        "path": path,
        "origin": str(policy.origin),
        "env": environment,
        "seed": seed,
        "returns": list(evaluation.returns),
        "lengths": [len(actions) for actions in evaluation.actions],
        "mean_return": evaluation.mean_return,
    }
    if as_json:
        print_json(document)
        return
    returns = evaluation.returns
    click.echo(f"{path}  {policy.origin}")
    click.echo("returns  " + " ".join(f"{value:g}" for value in returns))
    click.echo(
        f"{environment}: mean return {fmean(returns):.1f} +- {pstdev(returns):.1f}, "
        f"min {min(returns):g}, max {max(returns):g}, {episodes} episodes from seed {seed}"
    )
