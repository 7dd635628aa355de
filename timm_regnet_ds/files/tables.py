"""Tables as text: Markdown and CSV. Names and messages may come from other people, and are escaped in each format."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["column_names", "csv_text", "markdown", "markdown_line"]

# What starts an escape, a table cell, a tag or a link in Markdown.
_MARKDOWN = str.maketrans({"\\": r"\\", "|": r"\|", "<": "&lt;", "[": r"\["})

# A spreadsheet takes text that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@")


def markdown_line(text: str) -> str:
    r"""Text as one line of Markdown: without line breaks and control characters, ``\``, ``|``, ``<``, ``[`` escaped."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()).translate(_MARKDOWN)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """A Markdown table. The first ``text_columns`` columns are aligned left, the others, numbers, right."""
    lines = [f"| {' | '.join(header)} |", "|---" * text_columns + "|---:" * (len(header) - text_columns) + "|"]
    return "\n".join(lines + [f"| {' | '.join(map(markdown_line, row))} |" for row in rows])


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Rows as CSV with a header line; a value that a row lacks is an empty cell.

    Text that a spreadsheet would take for a formula begins with an apostrophe.

    Args:
        rows: column names to values.
        columns: the columns in order. ``None``: `column_names` of the rows.

    Raises:
        ValueError: a row has a key that is not among the columns.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, column_names(rows) if columns is None else columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({name: _csv_cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _csv_cell(value: Any) -> Any:
    is_formula = isinstance(value, str) and value.lstrip().startswith(_FORMULA) and not _is_number(value)
    return f"'{value}" if is_formula else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def column_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys of all rows, each once, in the order in which they first occur."""
    return list(dict.fromkeys(name for row in rows for name in row))
