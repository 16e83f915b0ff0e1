"""The witness: recorded behaviour, the only thing that catches drift which no key, shape or config shows."""

from app_loader.witness.record import Witness, WitnessSpec, draw_observations, record_witness
from app_loader.witness.replay import OutputDifference, WitnessReport, replay_witness

__all__ = [
    "OutputDifference",
    "Witness",
    "WitnessReport",
    "WitnessSpec",
    "draw_observations",
    "record_witness",
    "replay_witness",
]
