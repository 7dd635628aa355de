"""Latency, throughput and memory of models on CUDA or the CPU, studies of many models, and predictions of latency.

>>> from timm_regnet_ds.bench import bench
>>> bench("regnetx_200mf", device="cpu", batch_size=1, seconds=1).setting.input_size
(3, 224, 224)
"""

from .comparing import Comparison, Ratio, compare
from .harness import bench
from .jobs import Job, Result
from .latency import LatencyModel
from .measurement import Measurement
from .reporting import report
from .runner import read_results, run_jobs
from .setting import Setting
from .studies import STUDIES, run_study
from .timing import Timing

__all__ = [
    "STUDIES",
    "Comparison",
    "Job",
    "LatencyModel",
    "Measurement",
    "Ratio",
    "Result",
    "Setting",
    "Timing",
    "bench",
    "compare",
    "read_results",
    "report",
    "run_jobs",
    "run_study",
]
