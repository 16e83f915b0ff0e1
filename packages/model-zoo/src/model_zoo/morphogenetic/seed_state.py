"""SeedState: where a seed is in its life, as a value that is pure JSON.

A seed germinates, trains beside its host, is blended in, is held at full strength, and is fossilised: finished and
frozen. A seed that does not earn its place is culled, and its slot is dormant again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Self

from policy_interface import Config, InvalidConfigError, Problem
from pydantic import AwareDatetime, Field, model_validator

from model_zoo.morphogenetic.alpha_schedule import AlphaSchedule


class SeedStage(StrEnum):
    """The stages, in the order of a life that goes well."""

    DORMANT = "dormant"
    GERMINATED = "germinated"
    TRAINING = "training"
    BLENDING = "blending"
    HOLDING = "holding"
    FOSSILISED = "fossilised"


_NEXT: dict[SeedStage, tuple[SeedStage, ...]] = {
    SeedStage.DORMANT: (SeedStage.GERMINATED,),
    SeedStage.GERMINATED: (SeedStage.TRAINING, SeedStage.DORMANT),
    SeedStage.TRAINING: (SeedStage.BLENDING, SeedStage.DORMANT),
    SeedStage.BLENDING: (SeedStage.HOLDING, SeedStage.DORMANT),
    SeedStage.HOLDING: (SeedStage.FOSSILISED, SeedStage.DORMANT),
    SeedStage.FOSSILISED: (),
}


class StageChange(Config):
    """One entry of the history: a stage and when it was entered. A time that nobody told is None."""

    stage: SeedStage
    step: int = Field(ge=0)
    at: AwareDatetime | None = None


class SeedState(Config):
    """Where a seed is.

    Attributes:
        stage: the present stage.
        stage_entered_step: the training step at which it was entered.
        stage_entered_at: when; ISO 8601 text in JSON.
        stage_history: the stages before, oldest first.
        alpha_schedule: of the blending.
        step: the training step that the state was last told of.
    """

    stage: SeedStage = SeedStage.DORMANT
    stage_entered_step: int = Field(default=0, ge=0)
    stage_entered_at: AwareDatetime | None = None
    stage_history: tuple[StageChange, ...] = ()
    alpha_schedule: AlphaSchedule = AlphaSchedule()
    step: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.step < self.stage_entered_step:
            raise ValueError(f"step {self.step} lies before the stage was entered at {self.stage_entered_step}")
        return self

    @property
    def alive(self) -> bool:
        """Whether the slot holds a seed."""
        return self.stage is not SeedStage.DORMANT

    @property
    def alpha(self) -> float:
        """How much of the seed the host feels now: 0 before blending, the schedule's value, 1 after it."""
        if self.stage is SeedStage.BLENDING:
            return self.alpha_schedule.alpha_at(self.step - self.stage_entered_step)
        return 1.0 if self.stage in (SeedStage.HOLDING, SeedStage.FOSSILISED) else 0.0

    def enter(self, stage: SeedStage, *, step: int, at: AwareDatetime | None = None) -> Self:
        """Return the state after entering a stage.

        Raises:
            InvalidConfigError: the stage does not follow the present one, or the step lies before it.
        """
        problems = []
        if stage not in _NEXT[self.stage]:
            allowed = ", ".join(_NEXT[self.stage]) or "nothing: a fossilised seed stays"
            problems.append(Problem(path="stage", message=f"after {self.stage} comes {allowed}; got {stage}"))
        if step < self.stage_entered_step:
            message = f"expected {self.stage_entered_step} or later, got {step}"
            problems.append(Problem(path="step", message=message))
        if problems:
            raise InvalidConfigError("SeedState", problems)
        left = StageChange(stage=self.stage, step=self.stage_entered_step, at=self.stage_entered_at)
        return type(self)(
            stage=stage,
            stage_entered_step=step,
            stage_entered_at=at,
            stage_history=(*self.stage_history, left),
            alpha_schedule=self.alpha_schedule,
            step=step,
        )

    def at_step(self, step: int) -> Self:
        """Return the state at a later training step: alpha follows the schedule."""
        return type(self)(**{**dict(self), "step": max(step, self.stage_entered_step)})

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain JSON data."""
        return self.to_document()

    @classmethod
    def from_dict(cls, document: Any) -> Self:
        """Read what `to_dict` gave.

        Raises:
            InvalidConfigError: with every problem.
        """
        return cls.from_document(document)
