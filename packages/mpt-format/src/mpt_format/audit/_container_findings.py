"""What is to be said of a container itself: that it is broken, or that torch.load does not take files of its kind.

One finding each, without a path; the pickles inside are examined elsewhere.
"""

from __future__ import annotations

__all__ = ["refused_container_finding", "tell_of_container"]

from mpt_format.errors import escape_text

from ._container import Container
from ._result import Finding, Severity


def tell_of_container(severity: Severity, kind: str, hint: str) -> Finding:
    """A finding that is about the whole file."""
    return Finding(path=None, kind=kind, name=None, offset=None, count=1, severity=severity, hint=escape_text(hint))


def refused_container_finding(container: Container) -> Finding:
    """That torch.load refuses the kind of file, with what to do instead."""
    return tell_of_container("incompatible", container.kind, _advise(container))


def _advise(container: Container) -> str:
    advice = {
        "torchscript": "load it with torch.jit.load where you trust it, and save module.state_dict()",
        "sb3-zip": "torch.load reads its member policy.pth, not the zip: `mpt convert` does that for you",
        "torch-shard": "merge the folder with "
        "torch.distributed.checkpoint.format_utils.dcp_to_torch_save(FOLDER, FILE), then audit that file",
        "pt2": "torch.export.load reads it where you trust it; save module().state_dict() of what it gives",
        "torch-tar": "load it once with the torch that wrote it and save it again with torch.save",
        "torch-package": "torch.package.PackageImporter imports code of its own to read it; where you trust it, save "
        "the state_dict() of what its load_pickle gives",
        "joblib": "joblib.load reads it where you trust it; save arrays with numpy.savez or torch.save",
        "tar": "unpack it and audit what is inside",
        "zip": "unpack it and audit what is inside",
        "pickle": "write the same object with torch.save, once its findings are gone",
    }.get(container.kind, "")
    said = (container.torch_refusal or "").rstrip(".")
    return f"{container.description}; torch.load says: {said}. {advice}".strip()
