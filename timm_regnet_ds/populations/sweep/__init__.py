"""Populations that are trained: models sampled from design spaces, each trained briefly, a row each.

On Network Design Spaces, §3; Designing Network Design Spaces, §3.1. A sweep may be killed at any instant and goes on
where it stopped.
"""

from .jobs import sweep
from .plan import Plan, load_plan
from .sharing import Sharing, measure_sharing
from .tasks import Outcome, Task
from .train import trainer

__all__ = ["Outcome", "Plan", "Sharing", "Task", "load_plan", "measure_sharing", "sweep", "trainer"]
