"""What matching ten thousand open tensors takes: CPU seconds and peak memory.

    uv run --no-sync python benchmarks/drift/size.py            # 1,000 blocks of ten tensors
    uv run --no-sync python benchmarks/drift/size.py --blocks 200

Every shape is one that many share, and nothing is known by an equal key but in the first tree: the worst case.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator, Mapping

from app_loader.matching import TensorInfo, match_tensors

Parts = Mapping[str, tuple[int, ...]]

BLOCK: Parts = {
    "attn.q_proj.weight": (8, 8),
    "attn.k_proj.weight": (8, 8),
    "attn.v_proj.weight": (8, 8),
    "attn.o_proj.weight": (8, 8),
    "mlp.fc1.weight": (32, 8),
    "mlp.fc2.weight": (8, 32),
    "norm1.weight": (8,),
    "norm1.bias": (8,),
    "norm2.weight": (8,),
    "norm2.bias": (8,),
}
NAMES = (
    "attention.query",
    "attention.key",
    "attention.value",
    "attention.out",
    "ffn.w1",
    "ffn.w2",
    "before",
    "before",
    "after",
    "after",
)
RENAMED: Parts = {f"{name}.{key.rpartition('.')[2]}": BLOCK[key] for name, key in zip(NAMES, BLOCK, strict=True)}


def blocks(count: int, root: str, parts: Parts) -> list[TensorInfo]:
    """Return a list of equal blocks."""
    named = [(f"{root}.{i}.{key}", shape) for i in range(count) for key, shape in parts.items()]
    return [
        TensorInfo(
            key=key, shape=shape, dtype="float32", module_type="Linear" if len(shape) > 1 else "LayerNorm", order=order
        )
        for order, (key, shape) in enumerate(named)
    ]


def cases(count: int) -> Iterator[tuple[str, list[TensorInfo], list[TensorInfo]]]:
    """Yield names and both signatures."""
    plain = blocks(count, "blocks", BLOCK)
    yield "unchanged", plain, plain
    yield "every name is another one", plain, blocks(count, "layers", RENAMED)
    yield "one block more", plain, blocks(count + 1, "blocks", BLOCK)
    layers, experts = max(count // 50, 1), 128
    parts = {f"{e}.{w}.weight": (8, 4) if w != "w2" else (4, 8) for e in range(experts) for w in ("w1", "w2", "w3")}
    stacked = {"gate_up_proj": (experts, 16, 4), "down_proj": (experts, 4, 8)}
    yield "experts stacked", blocks(layers, "moe.experts", parts), blocks(layers, "moe.experts", stacked)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=1000)
    count = parser.parse_args().blocks
    print("| tree | tensors | certain | CPU seconds | peak MB so far |\n|---|---:|---:|---:|---:|")
    for name, old, new in cases(count):
        begin = time.process_time()
        certain = sum(match.confidence == "auto" for match in match_tensors(old, new))
        spent = time.process_time() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"| {name} | {len(old)} -> {len(new)} | {certain} | {spent:.1f} | {peak} |")


if __name__ == "__main__":
    main()
