"""The most that a model may cost, checked before anything is built: configurations come from other people, too."""

__all__ = ["MAX_BLOCKS", "MAX_ELEMENTS", "MAX_WIDTH", "check_blocks", "check_elements"]

# Blocks of a network; the deepest published ones have about a thousand. Building one block takes a millisecond.
MAX_BLOCKS = 2**13

# Channels of a layer.
MAX_WIDTH = 2**24

# Parameters or activations: 550 GB in fp32.
MAX_ELEMENTS = 2**37


# A number that no float can hold.
_BEYOND = "more than 1e308"


def check_blocks(what: str, blocks: int) -> None:
    """Raise a ValueError for a network of more blocks than ``MAX_BLOCKS``."""
    if blocks > MAX_BLOCKS:
        raise ValueError(f"{what} would have {_count(blocks)} blocks (allowed: up to {MAX_BLOCKS})")


def check_elements(what: str, elements: float, measure: str = "params") -> None:
    """Raise a ValueError for a model that is larger than any memory.

    Args:
        what: how the error calls the model.
        elements: about how many params or acts it has.
        measure: which of them.
    """
    if elements > MAX_ELEMENTS:
        amount = _count(elements)
        about = "" if amount == _BEYOND else "about "
        raise ValueError(
            f"{what} would have {about}{amount} {measure}, more than memory could hold "
            f"(allowed: up to {MAX_ELEMENTS:.1e})"
        )


def _count(number: float) -> str:
    try:
        return f"{number:.1e}" if number >= 1e6 else f"{number:g}"
    except OverflowError:
        return _BEYOND
