"""A seed has one gain per channel of its slot."""

from __future__ import annotations

from policy_interface.migrations import Resize, Revision

REVISION = Revision(
    id="r0003_gain_per_channel",
    parents=("r0002_column_before_row",),
    since="0.2.0",
    kinds=("morphogenetic",),
    summary="slots.NAME.seed.gain is one number per channel; the one number of before is said once for each.",
    tensors=tuple(
        Resize(key=f"slots.{slot}.seed.gain", dim=0, policy="repeat", like=f"blocks.{block}.0.weight", optional=True)
        for block, slot in enumerate(("early", "mid", "late"))
    ),
    reviewed=True,
)
