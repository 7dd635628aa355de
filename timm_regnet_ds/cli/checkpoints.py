"""The options of commands that read a checkpoint."""

import argparse
from typing import Any

from torch import nn

from timm_regnet_ds.training.checkpoints import Checkpoint, model_of, read_checkpoint
from timm_regnet_ds.training.model_kwargs import parse_model_kwargs

__all__ = ["add_checkpoint_options", "read"]


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--model-kwargs``, ``--no-ema`` and ``--trust``."""
    parser.add_argument(
        "--model-kwargs", nargs="+", default=[], metavar="KEY=VALUE", help="arguments of timm.create_model"
    )
    parser.add_argument(
        "--no-ema", action="store_true", help="take the weights themselves where a checkpoint has their moving average"
    )
    parser.add_argument("--trust", action="store_true", help="unpickle a checkpoint that may execute code")


def read(options: argparse.Namespace, **kwargs: Any) -> tuple[Checkpoint, nn.Module]:
    """The checkpoint that the options name, and the model in it.

    Args:
        options: of `add_checkpoint_options`, ``checkpoint`` and ``model``.
        **kwargs: arguments of ``timm.create_model``, which ``--model-kwargs`` may override.
    """
    checkpoint = read_checkpoint(options.checkpoint, options.trust, not options.no_ema)
    kwargs |= parse_model_kwargs(options.model_kwargs)
    return checkpoint, model_of(checkpoint, options.model or "", **kwargs)
