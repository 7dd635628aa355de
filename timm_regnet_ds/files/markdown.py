"""Tables in Markdown."""

from collections.abc import Iterable, Sequence

__all__ = ["markdown"]


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table whose first ``words`` columns are text and whose others are figures."""
    lines = [f"| {' | '.join(header)} |", "|---" * words + "|---:" * (len(header) - words) + "|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])
