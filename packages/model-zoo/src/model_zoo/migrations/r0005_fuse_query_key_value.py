"""Query, key and value of the encoder are one layer."""

from __future__ import annotations

from policy_interface.migrations import Cat, Revision

REVISION = Revision(
    id="r0005_fuse_query_key_value",
    parents=("r0004_unwrap_heads",),
    since="0.3.0",
    kinds=("token_recurrent",),
    summary="The attention's query, key and value layers are joined, in this order, into qkv.",
    tensors=(
        Cat(
            parts=tuple(f"encoder.attention.{part}.{{leaf}}" for part in ("query", "key", "value")),
            whole="encoder.attention.qkv.{leaf}",
        ),
    ),
    reviewed=True,
)
