"""Policies that keep to the contract of policy-interface. It imports the contract, torch and itself, nothing else."""

from __future__ import annotations

from model_zoo.conv_actor_critic import ConvActorCritic, ConvActorCriticArchitecture, ConvLayerConfig
from model_zoo.mlp_actor_critic import MlpActorCritic, MlpActorCriticArchitecture
from model_zoo.morphogenetic import (
    AlphaSchedule,
    MorphogeneticArchitecture,
    MorphogeneticPolicy,
    SeedStage,
    SeedState,
    SlotConfig,
)
from model_zoo.recurrent_core import RecurrentCoreConfig
from model_zoo.token_encoder import TokenEncoderConfig
from model_zoo.token_recurrent import TokenRecurrent, TokenRecurrentArchitecture

__all__ = [
    "AlphaSchedule",
    "ConvActorCritic",
    "ConvActorCriticArchitecture",
    "ConvLayerConfig",
    "MlpActorCritic",
    "MlpActorCriticArchitecture",
    "MorphogeneticArchitecture",
    "MorphogeneticPolicy",
    "RecurrentCoreConfig",
    "SeedStage",
    "SeedState",
    "SlotConfig",
    "TokenEncoderConfig",
    "TokenRecurrent",
    "TokenRecurrentArchitecture",
]
