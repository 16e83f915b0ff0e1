"""The two perceptrons are called by what they do, and their widths by what they are."""

from __future__ import annotations

from policy_interface.migrations import Rename, RenameField, Revision, SetSchemaVersion

REVISION = Revision(
    id="r0001_name_towers",
    parents=(),
    since="0.2.0",
    kinds=("mlp_actor_critic",),
    summary="policy_net and value_net are actor and critic; hidden_sizes is layer_widths, with the same meaning.",
    config=(SetSchemaVersion(old=1, new=2), RenameField(old="hidden_sizes", new="layer_widths")),
    tensors=(
        Rename(old="policy_net.{rest...}", new="actor.{rest...}"),
        Rename(old="value_net.{rest...}", new="critic.{rest...}"),
    ),
    reviewed=True,
)
