"""Latency, throughput and memory of models, on CUDA or the CPU, and studies over many of them.

>>> from timm_regnet_ds.bench import bench
>>> m = bench("regnetx_200mf", device="cpu", batch_size=1)
>>> m.timing.median, m.images_per_second
"""

from .harness import bench
from .measurement import Measurement
from .setting import Setting

__all__ = ["Measurement", "Setting", "bench"]
