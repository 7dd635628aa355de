"""Models that are measured in a moment, and measurements whose times are known."""

from timm_regnet_ds.bench.ceilings import Ceilings
from timm_regnet_ds.bench.measurement import Measurement
from timm_regnet_ds.bench.runner import Job, Result
from timm_regnet_ds.bench.setting import Setting
from timm_regnet_ds.bench.timing import Timing
from timm_regnet_ds.complexity import Counts

TINY = {"depths": [1, 1], "widths": [8, 16], "num_classes": 10}
QUICK = {"device": "cpu", "batch_size": 2, "input_size": 32, "threads": 1, "seconds": 0.2, "precision": 0.5}


def timing(milliseconds, share=0.01):
    low, high = milliseconds * (1 - share), milliseconds * (1 + share)
    return Timing(milliseconds, milliseconds, low, high, high, low, high, 100)


def result(model, counts, milliseconds, args=None, tags=None, operators=100, card="a card", **setting):
    """A result as if measured on a card."""
    setting = Setting(**{"device": "cpu", "batch_size": 1, "threads": 1, "input_size": (3, 224, 224), **setting})
    measurement = Measurement(
        *(model, args or {}, setting, timing(milliseconds), {}, 5, True, True, None, None),
        *(Counts(*counts), operators, Ceilings(1e12, 1e11), {"device_name": card}),
    )
    return Result(Job(model, setting, args or {}, tags or {}), card, measurement, None)
