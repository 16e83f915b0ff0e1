"""The device that weights are put on: judged before anything is read, so that a slip is not told as lost weights."""

from __future__ import annotations

import torch

from app_loader.errors import DeviceError


def check_device(device: str | torch.device) -> None:
    """Make sure that a device can hold values here.

    Raises:
        DeviceError: torch does not know it, it is not on this machine, or it is ``meta``.
    """
    if str(device) in ("cpu", "None"):  # None is the device that tensors have in the file
        return
    try:
        known = torch.device(device)
        if known.type == "meta":
            raise DeviceError(str(device), "meta tensors have shapes and no values")
        torch.empty(0, device=known)
    except (RuntimeError, AssertionError, TypeError) as error:
        if isinstance(error, DeviceError):
            raise
        raise DeviceError(str(device), str(error).partition("\n")[0]) from None
