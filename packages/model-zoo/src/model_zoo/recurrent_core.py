"""The recurrent core: an LSTM or GRU cell whose state is handed in and out, never kept."""

from __future__ import annotations

from typing import Literal

import torch
from policy_interface import ComponentConfig, State
from pydantic import Field
from torch import Tensor, nn


class RecurrentCoreConfig(ComponentConfig):
    """Which cell, and how wide."""

    cell: Literal["lstm", "gru"] = "lstm"
    hidden_size: int = Field(default=128, ge=1)


class RecurrentCore(nn.Module):
    """One step of memory: float32 [batch, input_size] to float32 [batch, hidden_size].

    The state is a mapping: ``hidden`` and, for an LSTM, ``cell``, both float32 [batch, hidden_size].
    """

    def __init__(self, config: RecurrentCoreConfig, input_size: int) -> None:
        super().__init__()
        make = nn.LSTMCell if config.cell == "lstm" else nn.GRUCell
        self.cell = make(input_size, config.hidden_size)

    def forward(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the output and the next state."""
        if isinstance(self.cell, nn.LSTMCell):
            hidden, cell = self.cell(features, (state["hidden"], state["cell"]))
            return hidden, {"hidden": hidden, "cell": cell}
        hidden = self.cell(features, state["hidden"])
        return hidden, {"hidden": hidden}

    def initial_state(self, batch_size: int) -> State:
        """Return zeros on the weights' device, in their dtype."""
        weight = self.cell.weight_hh
        names = ("hidden", "cell") if isinstance(self.cell, nn.LSTMCell) else ("hidden",)
        zeros = torch.zeros(batch_size, self.cell.hidden_size, device=weight.device, dtype=weight.dtype)
        return {name: zeros.clone() for name in names}
