"""A perceptron numbers its layers and no longer the activations between them."""

from __future__ import annotations

from policy_interface.migrations import Reindex, Revision

MOST_LAYERS = 64
"""No perceptron has more: each number of a layer is written out."""

REVISION = Revision(
    id="r0006_number_layers",
    parents=("r0005_fuse_query_key_value",),
    since="0.3.0",
    kinds=("mlp_actor_critic",),
    summary="Layer n was called 2 n. Between equal widths actor.2 is there before and after, and means another layer.",
    tensors=tuple(
        Reindex(path=tower, numbers=tuple((2 * layer, layer) for layer in range(MOST_LAYERS)))
        for tower in ("actor", "critic")
    ),
    reviewed=True,
)
