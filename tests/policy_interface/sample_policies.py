"""One policy that keeps to the contract, and one for each way to break it."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from policy_interface import Capability, GameRules, Policy, PolicyArchitecture, PolicyOutput, State
from torch import Generator, Tensor, nn

GIVEN = frozenset({Capability.LOGITS, Capability.LOG_PROB, Capability.VALUE, Capability.ENTROPY})


class SampleArchitecture(PolicyArchitecture):
    kind: ClassVar[str] = "sample"
    hidden: int = 4
    inputs: int | None = None
    breakage: str = ""

    def resolve(self, rules: GameRules) -> SampleArchitecture:
        return self.model_copy(update={"inputs": rules.observation_size})

    def make_policy(self, rules: GameRules) -> SamplePolicy:
        return BROKEN.get(self.breakage, SamplePolicy)(self.resolve(rules), rules)


class SamplePolicy(nn.Module, Policy):
    """A memory over a vector observation; the state is a mapping with one leaf, float32 [batch, hidden]."""

    architecture: SampleArchitecture

    def __init__(self, architecture: SampleArchitecture, rules: GameRules) -> None:
        super().__init__()
        self.architecture = architecture
        self.rules = rules
        self.capabilities = GIVEN
        self.core = nn.Linear(rules.observation_size + architecture.hidden, architecture.hidden)
        self.head = nn.Linear(architecture.hidden, len(rules.actions.names))
        self.value_head = nn.Linear(architecture.hidden, 1)

    def initial_state(self, batch_size: int) -> State:
        return {"memory": torch.zeros(batch_size, self.architecture.hidden)}

    def act(
        self,
        observation: Any,
        state: State,
        *,
        action: Tensor | None = None,
        deterministic: bool = True,
        generator: Generator | None = None,
    ) -> PolicyOutput:
        memory = torch.tanh(self.core(torch.cat([observation, state["memory"]], dim=1)))
        logits = self.head(memory)
        log_probs = logits.log_softmax(dim=1)
        if action is None:
            action = logits.argmax(dim=1) if deterministic else self.sample(log_probs, generator)
        return PolicyOutput(
            action=action,
            state={"memory": memory},
            logits=logits,
            log_prob=log_probs.gather(1, action[:, None])[:, 0],
            value=self.value_head(memory)[:, 0],
            entropy=-(log_probs.exp() * log_probs).sum(dim=1),
        )

    def sample(self, log_probs: Tensor, generator: Generator | None) -> Tensor:
        return torch.multinomial(log_probs.exp(), 1, generator=generator)[:, 0]

    @property
    def module(self) -> nn.Module:
        return self


class Undeclared(SamplePolicy):
    def __init__(self, architecture: SampleArchitecture, rules: GameRules) -> None:
        super().__init__(architecture, rules)
        self.capabilities = GIVEN - {Capability.VALUE}


class NotGiven(SamplePolicy):
    def act(self, *args: Any, **options: Any) -> Any:
        output: Any = super().act(*args, **options)
        return output._replace(entropy=None)


class NoCapabilities(SamplePolicy):
    def __init__(self, architecture: SampleArchitecture, rules: GameRules) -> None:
        super().__init__(architecture, rules)
        del self.capabilities


class InventedCapability(SamplePolicy):
    def __init__(self, architecture: SampleArchitecture, rules: GameRules) -> None:
        super().__init__(architecture, rules)
        self.capabilities = GIVEN | {"attention"}  # type: ignore[arg-type]


class FloatAction(SamplePolicy):
    def act(self, *args: Any, **options: Any) -> Any:
        output: Any = super().act(*args, **options)
        return output._replace(action=output.action.float())


class ColumnValue(SamplePolicy):
    def act(self, *args: Any, **options: Any) -> Any:
        output: Any = super().act(*args, **options)
        return output._replace(value=output.value[:, None])


class NotFinite(SamplePolicy):
    def act(self, *args: Any, **options: Any) -> Any:
        output: Any = super().act(*args, **options)
        return output._replace(value=output.value / 0)


class ShrinkingState(SamplePolicy):
    def act(self, *args: Any, **options: Any) -> Any:
        output: Any = super().act(*args, **options)
        return output._replace(state={"memory": output.state["memory"][:, :-1]})


class BatchlessState(SamplePolicy):
    def initial_state(self, batch_size: int) -> State:
        return {"memory": torch.zeros(self.architecture.hidden, batch_size + 1)}


class HiddenMemory(SamplePolicy):
    """Keeps state between calls on itself."""

    calls = 0

    def act(self, *args: Any, **options: Any) -> Any:
        self.calls += 1
        output: Any = super().act(*args, **options)
        return output._replace(value=output.value + self.calls)


class InPlaceState(SamplePolicy):
    def act(self, observation: Any, state: State, **options: Any) -> Any:
        output: Any = super().act(observation, {"memory": state["memory"].clone()}, **options)
        state["memory"] += 1
        return output


class DeafToGenerator(SamplePolicy):
    def sample(self, log_probs: Tensor, generator: Generator | None) -> Tensor:
        self.parity = not getattr(self, "parity", False)
        return torch.full((len(log_probs),), int(self.parity))


class IgnoresGivenAction(SamplePolicy):
    def act(self, observation: Any, state: State, **options: Any) -> Any:
        given = options.pop("action", None)
        output: Any = super().act(observation, state, **options)
        return output if given is None else output._replace(action=1 - output.action)


class OtherLogProb(SamplePolicy):
    def act(self, observation: Any, state: State, **options: Any) -> Any:
        output: Any = super().act(observation, state, **options)
        return output if options.get("action") is None else output._replace(log_prob=output.log_prob - 1)


class BatchCoupled(SamplePolicy):
    def act(self, *args: Any, **options: Any) -> Any:
        output: Any = super().act(*args, **options)
        return output._replace(value=output.value + len(output.value))


class Raising(SamplePolicy):
    def act(self, *args: Any, **options: Any) -> Any:
        raise ZeroDivisionError("in model code")


class Unresolved(SamplePolicy):
    def __init__(self, architecture: SampleArchitecture, rules: GameRules) -> None:
        super().__init__(architecture, rules)
        self.architecture = architecture.model_copy(update={"inputs": None})


class ShapedByMemory(SamplePolicy):
    """A tensor's shape comes from a value that no config holds."""

    built = 0

    def __init__(self, architecture: SampleArchitecture, rules: GameRules) -> None:
        super().__init__(architecture, rules)
        type(self).built += 1
        self.value_head = nn.Sequential(  # type: ignore[assignment]
            nn.Linear(architecture.hidden, 1 + self.built), nn.Linear(1 + self.built, 1)
        )


class NeedsRealDevice(SamplePolicy):
    def __init__(self, architecture: SampleArchitecture, rules: GameRules) -> None:
        super().__init__(architecture, rules)
        self.register_buffer("norm", torch.tensor(self.core.weight.detach().sum().item()))


BROKEN: dict[str, type[SamplePolicy]] = {
    cls.__name__: cls
    for cls in (
        Undeclared,
        NotGiven,
        NoCapabilities,
        InventedCapability,
        FloatAction,
        ColumnValue,
        NotFinite,
        ShrinkingState,
        BatchlessState,
        HiddenMemory,
        InPlaceState,
        DeafToGenerator,
        IgnoresGivenAction,
        OtherLogProb,
        BatchCoupled,
        Raising,
        Unresolved,
        ShapedByMemory,
        NeedsRealDevice,
    )
}
