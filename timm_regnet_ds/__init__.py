"""RegNet, fast-scaled RegNetZ and ReXNet as timm models, and their complexity.

Importing this package registers the models with timm. If the package is installed, ``import timm`` is enough.
"""

# All of timm is imported first: two threads that import parts of timm in different orders can deadlock.
import timm  # noqa: F401

from timm_regnet_ds.training.hub import model_card, pull_from_hub, push_to_hub
from timm_regnet_ds.training.model_kwargs import mend_timm

from . import models, scaling
from .complexity import Complexity, measure, register_formula
from .models import AnyNet, AnyNetCfg, RegNetCfg, list_models
from .scaling import STRATEGIES, ScaledModel, Strategy, resolve_strategy, scalable, scale

__version__ = "0.1.0"

mend_timm()

__all__ = [
    "STRATEGIES",
    "AnyNet",
    "AnyNetCfg",
    "Complexity",
    "RegNetCfg",
    "ScaledModel",
    "Strategy",
    "list_models",
    "measure",
    "model_card",
    "models",
    "pull_from_hub",
    "push_to_hub",
    "register_formula",
    "resolve_strategy",
    "scalable",
    "scale",
    "scaling",
]
