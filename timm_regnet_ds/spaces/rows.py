"""Files of a population's rows: a trained model, or why it is none, each."""

from pathlib import Path

from timm_regnet_ds.rows import RowsFile

__all__ = ["population_file"]


def population_file(path: str | Path) -> RowsFile:
    """The file of rows at a path."""
    return RowsFile(Path(path), "population", 1)
