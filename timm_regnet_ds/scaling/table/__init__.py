"""What scales of each of timm's model classes, and of this project's: a row for each."""

from . import classics, columnar, efficientnets, hybrids, mobile, own, pyramids

__all__ = ["classics", "columnar", "efficientnets", "hybrids", "mobile", "own", "pyramids"]
