"""``--model-kwargs KEY=VALUE …`` as timm's scripts read it, in every timm that this package supports."""

import argparse
import ast
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from timm.utils import ParseKwargs

from timm_regnet_ds.common.text import first_line

__all__ = ["explain_arguments", "mend_timm", "parse_model_kwargs"]


def parse_model_kwargs(values: Sequence[str]) -> dict[str, Any]:
    """Arguments of ``create_model`` from texts such as ``to=16gf`` and ``depths=[1,2,4]``.

    A value that is no literal of Python is a string, as in timm's scripts.

    Raises:
        ValueError: a text without ``=``, or without a name before it.
    """
    kwargs = {}
    for text in filter(None, values):
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ValueError(f"--model-kwargs takes KEY=VALUE, such as base=resnet50, not {text!r}")
        try:
            kwargs[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            kwargs[name] = value
    return kwargs


@contextmanager
def explain_arguments(name: str) -> Iterator[None]:
    """Raise the TypeError of a model that is built with wrong arguments as a ValueError that names the model."""
    try:
        yield
    except TypeError as error:
        raise ValueError(f"{name} cannot be built with these arguments: {first_line(error)}") from error


def mend_timm() -> None:
    """Let timm's scripts accept ``--model-kwargs to=16gf``.

    Before timm 1.0.30, its ``ParseKwargs`` ends them with a SyntaxError for a value that begins with a digit and is no
    number. Later versions are left as they are.
    """
    try:
        ParseKwargs([], "kwargs")(None, argparse.Namespace(), ["to=16gf"])
    except SyntaxError:
        ParseKwargs.__call__ = _parse


def _parse(action: Any, parser: Any, namespace: Any, values: Sequence[str], option_string: Any = None) -> None:
    setattr(namespace, action.dest, parse_model_kwargs(values))
