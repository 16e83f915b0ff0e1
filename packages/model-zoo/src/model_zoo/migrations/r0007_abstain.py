"""An image policy may abstain: one action more, never chosen by a policy that did not learn it."""

from __future__ import annotations

from policy_interface.migrations import AddAction, ChangeNumber, Resize, Revision

NEVER = -1e9
"""A logit so low that its probability is zero in float32, and so finite that entropy stays a number."""

REVISION = Revision(
    id="r0007_abstain",
    parents=("r0006_number_layers",),
    since="0.3.0",
    kinds=("conv_actor_critic",),
    summary="The game of image policies got the action abstain, behind the others; an old policy never chooses it.",
    config=(ChangeNumber(path="action_size", by=1),),
    tensors=(
        Resize(key="action_head.weight", dim=0, policy="append", by=1, value=0.0),
        Resize(key="action_head.bias", dim=0, policy="append", by=1, value=NEVER),
    ),
    rules=(AddAction(name="abstain"),),
    reviewed=True,
)
