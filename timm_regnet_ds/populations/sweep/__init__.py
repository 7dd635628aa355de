"""Sweeps: models are sampled from design spaces and each is trained for a few epochs; the results are rows.

On Network Design Spaces, §3; Designing Network Design Spaces, §3.1. A sweep may be killed at any time; when it is
started again, it continues with the models that have no row yet.
"""

from .jobs import sweep
from .plan import Plan, load_plan
from .sharing import Sharing, measure_sharing
from .tasks import Outcome, Task
from .train import make_trainer

__all__ = ["Outcome", "Plan", "Sharing", "Task", "load_plan", "make_trainer", "measure_sharing", "sweep"]
