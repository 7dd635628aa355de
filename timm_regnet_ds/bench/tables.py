"""Tables in Markdown."""

from collections.abc import Iterable, Sequence

__all__ = ["markdown"]


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are figures."""
    lines = [f"| {' | '.join(header)} |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])
