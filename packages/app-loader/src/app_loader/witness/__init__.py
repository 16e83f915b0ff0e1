"""The witness: recorded behaviour, the only thing that catches drift which no key, shape or config shows."""

from app_loader.witness.observations import draw_observations
from app_loader.witness.record import Witness, WitnessSpec, has_memory, record_witness
from app_loader.witness.replay import OutputDifference, WitnessReport, replay_witness

__all__ = [
    "OutputDifference",
    "Witness",
    "WitnessReport",
    "WitnessSpec",
    "draw_observations",
    "has_memory",
    "record_witness",
    "replay_witness",
]
