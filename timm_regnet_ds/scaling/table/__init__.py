"""What scales of each of timm's model classes, and of this project's: a row for each."""

from . import convnets, transformers

__all__ = ["convnets", "transformers"]
