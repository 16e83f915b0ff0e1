"""Training and evaluation of any policy that keeps the contract. Needs the extra ``app-loader[gymnasium]``."""

from app_loader.training.errors import UntrainablePolicyError
from app_loader.training.evaluate import Evaluation, evaluate
from app_loader.training.ppo import TrainingProgress, TrainingResult, train_ppo
from app_loader.training.settings import PpoSettings

__all__ = [
    "Evaluation",
    "PpoSettings",
    "TrainingProgress",
    "TrainingResult",
    "UntrainablePolicyError",
    "evaluate",
    "train_ppo",
]
