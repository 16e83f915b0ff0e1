"""The rehearsal of a load: a policy that is about to be saved is put together again as `load_policy` will do it.

It catches what no key and no shape shows: a buffer outside the state dict, a tensor or number in a plain attribute that
training changed, a wrapper that computes more than the weights. Tensors are shared, not copied; nothing is written.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from policy_interface import Policy
from torch import Tensor, nn

from app_loader.build import describe
from app_loader.errors import BuildError, RestoreError
from app_loader.restore import restore
from app_loader.witness import Witness, replay_witness

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

_REMEDY = (
    "what a policy computes must follow from its config, its state dict and its extra state: make it a persistent "
    "buffer, a config field or part of get_extra_state"
)


def rehearse_load(built: Policy, live: nn.Module, witness: Witness | None, *, subject: str) -> None:
    """Check that a policy built from what will be stored does what the live one did.

    Args:
        built: built on ``meta`` from the stored text; it gets the live tensors.
        live: the module that is about to be saved; it is not changed.
        witness: what the live policy did; None checks the weights alone.
        subject: what is being saved, for the error.

    Raises:
        BuildError: the built policy cannot take the weights, or it does something else.
    """
    module = built.module
    if module is None:
        raise BuildError(subject, stage="save", cause="built again, the policy's module is None")
    state: MutableMapping[str, Any] = live.state_dict()
    for key, value in state.items():
        if not isinstance(value, Tensor):
            state[key] = json.loads(json.dumps(value))  # as it will be read; and never the live policy's own objects
    try:
        restore(module, state, subject=subject)
    except RestoreError as error:
        told = [*error.missing, *error.unexpected, *error.other]
        raise BuildError(
            subject, stage="save", cause=f"it could not be loaded again: {'; '.join(map(str, told))}; {_REMEDY}"
        ) from error
    if witness is None:
        return
    try:
        report = replay_witness(built, witness)
    except Exception as error:  # model code
        raise BuildError(
            subject, stage="save", cause=f"loaded again it would raise {describe(error)}; {_REMEDY}"
        ) from error
    if not report.met:
        raise BuildError(
            subject, stage="save", cause=f"loaded again it would do something else:\n{report.to_text()}\n{_REMEDY}"
        )
