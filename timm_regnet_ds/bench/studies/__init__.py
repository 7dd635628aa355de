"""Studies over many models: what the papers say of time, measured on one's own card."""

from .baselines import BASELINES
from .rexnet import REXNET_STUDY
from .runtime_proxy import RUNTIME_PROXY
from .scaling import SCALING
from .study import Findings, Study, run_study

__all__ = ["STUDIES", "Findings", "Study", "run_study"]

STUDIES = {study.name: study for study in (RUNTIME_PROXY, SCALING, BASELINES, REXNET_STUDY)}
