"""Statistics of populations of models, in NumPy and SciPy alone.

The tools of On Network Design Spaces for Visual Recognition (NDS, §4) and of Designing Network Design Spaces (RegNet,
§3.1 and §3.3). Errors and complexities are one number a model, in any unit; weights are one number a model, and only
their ratios count. Whatever is not finite, empty or of another length raises a ValueError that says so.
"""

from .bootstrap import BestRange, best_range
from .edf import EDF, edf
from .ks import KS, ks_test
from .linear_fit import Grid, LinearFit, linear_fit
from .normalize import common_range, uniform_weights
from .random_search import RandomSearch, random_search
from .subset_size import SampleSizes, sample_sizes
from .validation import effective_size

__all__ = [
    "EDF",
    "KS",
    "BestRange",
    "Grid",
    "LinearFit",
    "RandomSearch",
    "SampleSizes",
    "best_range",
    "common_range",
    "edf",
    "effective_size",
    "ks_test",
    "linear_fit",
    "random_search",
    "sample_sizes",
    "uniform_weights",
]
