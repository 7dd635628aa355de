"""Commands that make a trained model larger or smaller: ``grow`` and ``shrink``."""

import argparse
import textwrap
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from timm_regnet_ds.common.check import check_int
from timm_regnet_ds.scaling import ScaledModel, scale
from timm_regnet_ds.training.checkpoints import Checkpoint
from timm_regnet_ds.training.model_kwargs import parse_model_kwargs
from timm_regnet_ds.training.saving import save_model
from timm_regnet_ds.weights import Inherited

from .checkpoints import add_checkpoint_options, read
from .scaling import add_scaling_options

__all__ = ["add_commands"]

_COLUMNS = 80


def add_commands(commands: Any) -> None:
    """Add these commands to the parser's."""
    for name, what in (
        ("grow", "make a trained model larger: it computes the same and can learn more"),
        ("shrink", "make a trained model smaller: it starts from the leading part of the weights"),
    ):
        command = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        command.add_argument(
            "checkpoint", metavar="CHECKPOINT", help="a safetensors file, a checkpoint of train.py, or a saved folder"
        )
        command.add_argument(
            "--output", required=True, metavar="PATH", help="the folder, or the .safetensors file, that is written"
        )
        add_scaling_options(command)
        command.add_argument("--model", metavar="NAME", help="the model, where the checkpoint does not say it")
        add_checkpoint_options(command)
        command.add_argument("--num-classes", type=int, metavar="N", help="another number of classes: a fresh head")
        if name == "grow":
            command.add_argument(
                "--inherit-exactly",
                action="store_true",
                help="widths grow by whole numbers",
            )
            command.add_argument("--exact", action="store_true", help="fail if the model does not compute the same")
        command.set_defaults(run=partial(_run, name), inherit_exactly=False, exact=False)


def _run(command: str, options: argparse.Namespace) -> None:
    if Path(options.output).exists():
        raise ValueError(f"{options.output} exists already: choose another --output")
    if options.factor is not None:
        _check_direction(command, options.factor)
    classes: dict[str, Any] = {}
    if options.num_classes is not None:
        classes["num_classes"] = check_int("--num-classes", options.num_classes, minimum=0)
    checkpoint, base = read(options)
    scaled = scale(
        base,
        options.factor,
        to=options.to,
        strategy=options.strategy,
        alpha=options.alpha,
        base_args=parse_model_kwargs(options.model_kwargs),
        inherit_exactly=options.inherit_exactly,
    )
    _check_direction(command, scaled.factor)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*inherited", UserWarning)  # the printed lines say it
        model: Any = scaled.create(inherit=base, exact=options.exact, **classes)
    save_model(model, options.output)
    print("\n".join(_lines(scaled, model.inherited, checkpoint, Path(options.output))))


def _check_direction(command: str, factor: float) -> None:
    if (factor <= 1) if command == "grow" else (factor >= 1):
        other = "shrink" if command == "grow" else "grow"
        limit = "more" if command == "grow" else "less"
        raise ValueError(f"{command} takes a factor of {limit} than 1, not {factor:.4g}; see '{other}'")


def _lines(scaled: ScaledModel, inherited: Inherited, checkpoint: Checkpoint, output: Path) -> list[str]:
    before, after, growth = scaled.base_complexity, scaled.complexity, scaled.growth.flops
    error = f"error {inherited.error:.2g}"
    average = ", moving average" if checkpoint.averaged else ""
    found = [
        ("base", f"{scaled.base} of {checkpoint.path.name}{average}: {_size(before)}"),
        ("scaled", f"by {scaled.strategy.name} and {scaled.factor:.4g}: {_size(after)}; {growth:.3g} times the flops"),
        ("weights", f"exact ({error})" if inherited.exact else f"not exact ({error}): {_reasons(inherited.reasons)}"),
        (
            "parameters",
            f"{len(inherited.inherited)} inherited, {len(inherited.widened)} widened, {len(inherited.new)} new "
            f"(modules added: {len(inherited.added)})",
        ),
        ("written", str(output)),
    ]
    if output.suffix != ".safetensors":
        found.append(("load it", f'timm.create_model("local-dir:{output}", pretrained=True)'))
    return [line for label, text in found for line in _wrapped(label, text)]


def _size(complexity: Any) -> str:
    return f"{complexity.flops / 1e9:.4g} GF, {complexity.params / 1e6:.4g} M parameters"


def _reasons(reasons: Sequence[str]) -> str:
    return "; ".join(reasons[:3]) or "no reason was found"


def _wrapped(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _COLUMNS,
        initial_indent=f"{label:12}",
        subsequent_indent=" " * 12,
        break_long_words=False,
        break_on_hyphens=False,
    )
