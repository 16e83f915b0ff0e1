"""An action head is its linear layer and no longer holds one."""

from __future__ import annotations

from policy_interface.migrations import Rename, Revision

REVISION = Revision(
    id="r0004_unwrap_heads",
    parents=("r0003_gain_per_channel",),
    since="0.3.0",
    kinds=("mlp_actor_critic", "conv_actor_critic", "token_recurrent", "morphogenetic"),
    summary="action_head.linear.* is action_head.*: the head is the layer.",
    tensors=tuple(Rename(old=f"action_head.linear.{leaf}", new=f"action_head.{leaf}") for leaf in ("weight", "bias")),
    reviewed=True,
)
