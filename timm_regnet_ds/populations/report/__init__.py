"""What the papers draw of populations, from the rows of a sweep."""

from .populations import Population, read_populations
from .report import report

__all__ = ["Population", "read_populations", "report"]
