"""Files of rows, one JSON object a line: appended whole, read back past a line that a killed run left broken."""

import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

__all__ = ["RowsFile"]


@dataclass(frozen=True)
class RowsFile:
    """A file of rows of one kind and version. Several processes may append to it at once.

    Args:
        path: the file; it need not exist yet.
        kind: what its rows are, such as ``measurement``.
        version: of the rows; rows of another are refused.
    """

    path: Path
    kind: str
    version: int

    def append(self, row: dict[str, Any]) -> None:
        """Add a row, on disk when this returns. What a killed run left of a row is removed first.

        Raises:
            ValueError: a number that is not finite, which JSON has no sign for.
        """
        line = json.dumps({"kind": self.kind, "version": self.version, **row}, allow_nan=False) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock(), open(self.path, "ab+") as file:
            file.truncate(_whole_lines(file))
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[dict[str, Any]]:
        """All whole rows, without their kind and version. A broken last line is left out, with a warning.

        Raises:
            ValueError: a broken line before the last, or a row of another kind or version.
            FileNotFoundError: no such file.
        """
        lines = self.path.read_bytes().split(b"\n")
        if lines.pop():
            warnings.warn(f"{self.path}: line {len(lines) + 1} is broken off and left out", stacklevel=2)
        return [self._row(line, text) for line, text in enumerate(lines, 1) if text.strip()]

    def read_if_there(self) -> list[dict[str, Any]]:
        """`read`, or nothing where there is no file yet."""
        return self.read() if self.path.exists() else []

    def _row(self, line: int, text: bytes) -> dict[str, Any]:
        where = f"{self.path}, line {line}"
        try:
            row = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{where} is no JSON: {error}") from error
        found = (row.pop("kind", None), row.pop("version", None)) if isinstance(row, dict) else (None, None)
        if found != (self.kind, self.version):
            raise ValueError(
                f"{where} is not a {self.kind} of version {self.version}, but kind {found[0]}, version {found[1]}"
            )
        return row

    def _lock(self) -> FileLock:
        return FileLock(self.path.with_name(f".{self.path.name}.lock"))


def _whole_lines(file: Any) -> int:
    """Length of a file without a last line that no newline ends."""
    end = file.seek(0, os.SEEK_END)
    tail = 1 << 16
    while end:
        start = max(0, end - tail)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
