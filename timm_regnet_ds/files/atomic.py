"""Files that are written completely or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["atomic_write", "save_figure", "write_text"]


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same directory to write to; rename it to ``path`` if the block succeeds.

    If the block raises, the temporary file is deleted and an existing ``path`` stays as it was. Missing directories
    are created.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> Path:
    """Write text in UTF-8 with `atomic_write`; return the path."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def save_figure(figure: Any, path: str | Path) -> Path:
    """Save a matplotlib figure with `atomic_write`, in the format of the path's suffix; return the path."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120, format=Path(path).suffix[1:])
    return Path(path)
