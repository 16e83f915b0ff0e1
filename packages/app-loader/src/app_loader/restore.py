"""Restoring: weights into a policy that was built on `meta`, strictly and without a copy.

Refuses every missing, unexpected or differently shaped key; nothing is initialised, padded, truncated or cast.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn

from app_loader.errors import RestoreError


def restore(module: nn.Module, state: MutableMapping[str, Any], *, subject: str, archive: str = "") -> None:
    """Put a state dict into a module, tensor by tensor as it is.

    Args:
        module: built on the ``meta`` device; its parameters become the tensors of `state`, not copies.
        state: as `Archive.read_state_dict` gives: module versions, extra state, and one parameter for tied keys.
        subject: what is being restored, for the error.
        archive: the archive's path, for the error.

    Raises:
        RestoreError: with every key that does not fit.
    """
    _check_fit(module, state, subject, archive)
    try:
        module.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:  # torch's own listing: a module's custom loading refused
        raise RestoreError(subject, other=[str(error)], archive=archive) from error
    except Exception as error:  # set_extra_state is model code
        raise RestoreError(
            subject, other=[f"restoring raised {type(error).__qualname__}: {error}"], archive=archive
        ) from error
    left = [name for name, tensor in _tensors(module) if tensor.is_meta]
    if left:
        raise RestoreError(
            subject,
            other=[f"{name}: has no value in the archive and is not in the state dict" for name in left],
            archive=archive,
        )


def _check_fit(module: nn.Module, state: Mapping[str, Any], subject: str, archive: str) -> None:
    expected = module.state_dict()
    versions: Mapping[str, Any] = getattr(state, "_metadata", {})
    missing = [key for key in expected if key not in state and not _upgraded_by_torch(key, module, versions)]
    unexpected = [key for key in state if key not in expected]
    mismatched = [
        (key, tuple(state[key].shape), tuple(value.shape))
        for key, value in expected.items()
        if isinstance(value, Tensor) and isinstance(state.get(key), Tensor) and state[key].shape != value.shape
    ]
    if missing or unexpected or mismatched:
        raise RestoreError(subject, missing=missing, unexpected=unexpected, mismatched=mismatched, archive=archive)


def _upgraded_by_torch(key: str, module: nn.Module, versions: Mapping[str, Any]) -> bool:
    """Tell whether torch itself adds a key that an older module version did not have.

    Source: torch.nn.modules.batchnorm._NormBase._load_from_state_dict (version 2 added num_batches_tracked).
    """
    owner, _, name = key.rpartition(".")
    if name != "num_batches_tracked":
        return False
    version = versions.get(owner, {}).get("version")
    return version is None or version < 2


def _tensors(module: nn.Module) -> Iterable[tuple[str, torch.Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()  # the non-persistent ones too: a value on meta computes nothing
