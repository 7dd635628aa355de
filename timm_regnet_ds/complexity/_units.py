"""The units in which tables and plots show complexity."""

from typing import NamedTuple

__all__ = ["UNITS", "Unit"]


class Unit(NamedTuple):
    """How many elements or multiply-adds a unit stands for, its metric prefix and its symbol."""

    size: float
    prefix: str
    symbol: str


UNITS = {"flops": Unit(1e9, "G", "GF"), "params": Unit(1e6, "M", "M"), "acts": Unit(1e6, "M", "M")}
