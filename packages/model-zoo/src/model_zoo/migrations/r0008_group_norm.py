"""The host normalises groups of one image and no longer the batch."""

from __future__ import annotations

from policy_interface.migrations import Revision

REVISION = Revision(
    id="r0008_group_norm",
    parents=("r0007_abstain",),
    since="0.3.0",
    kinds=("morphogenetic",),
    summary="The host's BatchNorm2d is a GroupNorm.",
    blocked=(
        "the host's BatchNorm2d was replaced by GroupNorm, which measures each image anew: running means and variances "
        "have no counterpart, so no old weights compute the same; go on with the code that it was trained with"
    ),
    reviewed=True,
)
