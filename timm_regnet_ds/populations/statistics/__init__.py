"""Statistics of populations of models; they need only NumPy and SciPy.

These are the tools of On Network Design Spaces for Visual Recognition (NDS, §4) and of Designing Network Design Spaces
(RegNet, §3.1 and §3.3). Errors, complexities and weights are arrays with one number per model. Errors and complexities
may have any unit; weights may have any sum. Empty input, different lengths and numbers that are not finite raise a
ValueError.
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
