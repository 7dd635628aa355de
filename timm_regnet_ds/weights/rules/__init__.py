"""What each operator does to dimensions; a file for each kind of operator."""

from . import arithmetic, contractions, joins, norms, views

__all__ = ["arithmetic", "contractions", "joins", "norms", "views"]
