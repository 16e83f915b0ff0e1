"""The zoo's own history as reviewed revisions: how a checkpoint of an older release follows today's code.

One file per revision; `docs/migration.md` says how to write the next one.
"""

from __future__ import annotations

from model_zoo.migrations import (
    r0001_name_towers,
    r0002_column_before_row,
    r0003_gain_per_channel,
    r0004_unwrap_heads,
    r0005_fuse_query_key_value,
    r0006_number_layers,
    r0007_abstain,
    r0008_group_norm,
)

REVISIONS = (
    r0001_name_towers.REVISION,
    r0002_column_before_row.REVISION,
    r0003_gain_per_channel.REVISION,
    r0004_unwrap_heads.REVISION,
    r0005_fuse_query_key_value.REVISION,
    r0006_number_layers.REVISION,
    r0007_abstain.REVISION,
    r0008_group_norm.REVISION,
)

__all__ = ["REVISIONS"]
