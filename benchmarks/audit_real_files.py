"""Audit and convert checkpoints that packages on PyPI ship: sevenn, chgnet and lpips.

    uv run --no-sync python benchmarks/audit_real_files.py [CACHE]

Unpacks the pinned wheels with uv into a cache folder (default: ~/.cache/mpt-real-files), away from any environment,
audits each checkpoint in them, compares with the installed torch, converts it and audits the result.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

WHEELS = ("sevenn==0.13.0", "chgnet==0.4.2", "lpips==0.1.4")
ENDINGS = (".pth", ".pt", ".ckpt", ".pth.tar")


def fetch(cache: Path) -> list[Path]:
    """Unpack the wheels once, without their dependencies and without running anything of them."""
    found = []
    for requirement in WHEELS:
        target = cache / requirement.replace("==", "-")
        if not target.exists():
            command = ["uv", "pip", "install", "--quiet", "--no-deps", "--target", str(target), requirement]
            subprocess.run(command, check=True)
        found += [path for path in sorted(target.rglob("*")) if path.name.endswith(ENDINGS)]
    return found


def load_with_torch(path: Path) -> str:
    """What the installed torch does."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.load(path, map_location="cpu", weights_only=True)
        except Exception:
            return "refuses"
    return "loads"


def main() -> int:
    """Print one Markdown row per checkpoint."""
    from mpt_format import audit_checkpoint, convert_checkpoint

    cache = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.home() / ".cache" / "mpt-real-files"
    print("| file | container | verdict | this torch | findings | converted |")
    print("|---|---|---|---|---|---|")
    for path in fetch(cache):
        audit = audit_checkpoint(path)
        paths = ", ".join(f"`{finding.path}`" for finding in audit.findings if finding.path) or "none"
        with tempfile.TemporaryDirectory() as folder:
            done = convert_checkpoint(path, Path(folder) / "out.mpt")
            converted = f"{len(done.tensors)} tensors, {done.audit.verdict}"
        name = path.relative_to(cache)
        print(f"| {name} | {audit.container} | {audit.verdict} | {load_with_torch(path)} | {paths} | {converted} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
