"""Files of a population's rows: a trained model, or why it is none, each."""

from pathlib import Path

from timm_regnet_ds.files.rows import RowsFile

__all__ = ["SETTINGS", "population_file"]

# What errors depend on, besides the model.
SETTINGS = (
    *("dataset", "epochs", "batch_size", "learning_rate", "weight_decay", "momentum", "smoothing"),
    *("optimizer", "scheduler"),
)


def population_file(path: str | Path) -> RowsFile:
    """The file of rows at a path."""
    return RowsFile(Path(path), "population", 1)
