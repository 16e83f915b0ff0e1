"""Matching the tensors of an old checkpoint to new code from their signatures."""

from app_loader.matching.match import match_tensors
from app_loader.matching.signature import Match, TensorInfo

__all__ = ["Match", "TensorInfo", "match_tensors"]
