"""Functions that the tests run in a process of their own, with `Worker`; it imports nothing more than this file."""

import re
import resource
import sys
import types

import timm
import torch

import timm_regnet_ds as trd
from timm_regnet_ds.scaling.families.rules import Width
from timm_regnet_ds.scaling.families.specs import SPECS, ScalingSpec


def params_and_memory_of_measuring(name):
    """The params of a model, and the bytes by which the peak of this process grows while they are counted."""
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    params = trd.measure(name).params
    return params, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit


def use_new_family(page):
    """What docs/new_family.md says of the models that its first block of Python registers."""
    source = re.search(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)[1]
    module = types.ModuleType("timm_regnet_ds.models.tinynet")
    module.__package__ = "timm_regnet_ds.models"
    sys.modules[module.__name__] = module
    exec(source, vars(module))
    SPECS[module.TinyNet] = ScalingSpec(width=(Width("model_cfg.widths"),))
    model = timm.create_model("tinynet_l", num_classes=5)
    features = timm.create_model("tinynet_s", features_only=True)
    logits = model(torch.randn(2, 3, 64, 64))
    return logits.shape[1], features.feature_info.channels(), trd.scale("tinynet_s", 4, strategy="w").growth.flops
