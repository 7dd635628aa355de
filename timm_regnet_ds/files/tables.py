"""Tables as text: Markdown and CSV."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["column_names", "csv_text", "markdown"]


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """A Markdown table. The first ``text_columns`` columns are aligned left, the others, numbers, right."""
    lines = [f"| {' | '.join(header)} |", "|---" * text_columns + "|---:" * (len(header) - text_columns) + "|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Rows as CSV with a header line; a value that a row lacks is an empty cell.

    Args:
        rows: column names to values.
        columns: the columns in order. ``None``: `column_names` of the rows.

    Raises:
        ValueError: a row has a key that is not among the columns.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, column_names(rows) if columns is None else columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def column_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys of all rows, each once, in the order in which they first occur."""
    return list(dict.fromkeys(name for row in rows for name in row))
