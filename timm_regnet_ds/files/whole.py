"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["save_figure", "whole_file", "write_text"]


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; what is there becomes ``path`` at the end, if all went well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> Path:
    """Write text and return where."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def save_figure(figure: Any, path: str | Path) -> Path:
    """Write a matplotlib figure as a picture and return where."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format=Path(path).suffix[1:])
    return Path(path)
