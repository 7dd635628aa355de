"""Reports that compare populations with the papers' statistics and plots, from the rows of sweeps."""

from .populations import Population, read_populations
from .report import report

__all__ = ["Population", "read_populations", "report"]
