"""Multi-exit models, gradient equilibrium and exit policies."""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForSequenceClassification

from .config import ExitsConfig, MultiExitConfig
from .equilibrium import gradient_equilibrium, scale_gradient
from .heads import ExitHead
from .model import MultiExitForSequenceClassification, MultiExitOutput, exit_layer_numbers
from .policies import ExitPolicy, entropy

__all__ = [
    "ExitHead",
    "ExitPolicy",
    "ExitsConfig",
    "MultiExitConfig",
    "MultiExitForSequenceClassification",
    "MultiExitOutput",
    "entropy",
    "exit_layer_numbers",
    "gradient_equilibrium",
    "scale_gradient",
]

AutoConfig.register(MultiExitConfig.model_type, MultiExitConfig, exist_ok=True)
AutoModelForSequenceClassification.register(
    MultiExitConfig, MultiExitForSequenceClassification, exist_ok=True
)
