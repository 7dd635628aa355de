"""Result files of a sweep: one row per model, with its error or the reason why it failed."""

from pathlib import Path

from timm_regnet_ds.files.rows import RowsFile

__all__ = ["population_file"]


def population_file(path: str | Path) -> RowsFile:
    """The file of a population's rows at ``path``."""
    return RowsFile(Path(path), "population", 1)
