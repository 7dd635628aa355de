"""Studies of many models: the papers' results about time, measured on one's own device."""

from .baselines import BASELINES
from .rexnet import REXNET_STUDY
from .runtime_proxy import RUNTIME_PROXY
from .scaling import SCALING
from .study import Study, StudyResult, run_study

__all__ = ["STUDIES", "Study", "StudyResult", "run_study"]

STUDIES = {study.name: study for study in (RUNTIME_PROXY, SCALING, BASELINES, REXNET_STUDY)}
