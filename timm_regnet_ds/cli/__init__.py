"""The command ``timm-regnet-ds``. Its modules parse arguments, call the package and print the results."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from timm_regnet_ds import __version__

from . import bench, inheriting, latency, models, scaling, spaces, training

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit code: 0; 1 if some of many models failed; 2, with one line on standard error, if the input was wrong;
        130 if the user interrupted the command.
    """
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning
            return int(options.run(options) or 0)
    except BrokenPipeError:  # The reader of the output has ended, for example `head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except FileNotFoundError as error:
        print(f"timm-regnet-ds: {f'no file {error.filename}' if error.filename else error}", file=sys.stderr)
        return 2
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        print(f"timm-regnet-ds: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _print_warning(
    message: Warning | str, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """Print a warning as one line, in the form of the commands' errors."""
    print(f"timm-regnet-ds: {message}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see '{self.prog} --help'\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="timm-regnet-ds", description="RegNet, RegNetZ and ReXNet for timm, and any timm model scaled."
    )
    parser.add_argument("--version", action="version", version=f"timm-regnet-ds {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (models, scaling, inheriting, bench, latency, spaces, training):
        group.add_commands(commands)
    return parser
