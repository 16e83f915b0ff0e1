"""Conversion of foreign checkpoints, from the same symbolic graph that the audit reads."""

from ._batch import BatchItem, convert_many
from ._convert import Conversion, convert_checkpoint
from ._key_map import KeyMap, find_shipped_map, parse_key_map, shipped_maps
from ._losses import Loss

__all__ = [
    "BatchItem",
    "Conversion",
    "KeyMap",
    "Loss",
    "convert_checkpoint",
    "convert_many",
    "find_shipped_map",
    "parse_key_map",
    "shipped_maps",
]
