"""Files of rows, one JSON object per line.

A row is appended completely or not at all, and a partial last line that a killed run left does not stop a reader.
"""

import json
import math
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

__all__ = ["RowsFile"]


@dataclass(frozen=True)
class RowsFile:
    """A file of rows of one kind and version. Several processes may append to it at the same time.

    Args:
        path: the file, which need not exist yet.
        kind: what a row describes, such as ``measurement``.
        version: version of the row format; rows of another version are refused, unless they can be upgraded.
        upgrades: for each older version, a function that turns a row of that version into one of this version.
    """

    path: Path
    kind: str
    version: int
    upgrades: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = field(default_factory=dict)

    def append(self, row: dict[str, Any]) -> None:
        """Append a row; it is on disk when this returns. A partial last line left by a killed run is removed first.

        Raises:
            ValueError: the row has a number that is not finite, which JSON cannot express.
        """
        line = json.dumps({"kind": self.kind, "version": self.version, **row}, allow_nan=False) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock(), open(self.path, "ab+") as file:
            file.truncate(_end_of_last_line(file))
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[dict[str, Any]]:
        """Return all complete rows, without their kind and version.

        A partial last line is skipped with a warning.

        Raises:
            ValueError: a line is not JSON, has a number that is not finite, or is a row of another kind or version.
            FileNotFoundError: the file does not exist.
        """
        lines = self.path.read_bytes().split(b"\n")
        if lines.pop():
            warnings.warn(f"{self.path}: line {len(lines) + 1} is incomplete and was skipped", stacklevel=2)
        return [self._parse(number, text) for number, text in enumerate(lines, 1) if text.strip()]

    def read_if_exists(self) -> list[dict[str, Any]]:
        """The rows as `read` returns them, or an empty list if the file does not exist."""
        return self.read() if self.path.exists() else []

    def _parse(self, number: int, text: bytes) -> dict[str, Any]:
        where = f"{self.path}, line {number}"
        try:
            row = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where} is not valid JSON: {error}") from error
        found = (row.pop("kind", None), row.pop("version", None)) if isinstance(row, dict) else (None, None)
        if found[0] == self.kind and found[1] in list(self.upgrades):
            return self.upgrades[found[1]](row)
        if found != (self.kind, self.version):
            raise ValueError(
                f"{where} is not a {self.kind} of version {self.version}, but kind {found[0]}, version {found[1]}"
            )
        return row

    def _lock(self) -> FileLock:
        return FileLock(self.path.with_name(f".{self.path.name}.lock"))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is too large")
    return number


def _end_of_last_line(file: Any) -> int:
    """The number of bytes up to and including the file's last newline, searched for backwards in blocks."""
    end = file.seek(0, os.SEEK_END)
    block = 1 << 16
    while end:
        start = max(0, end - block)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
