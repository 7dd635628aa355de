"""The command ``timm-regnet-ds``: thin, it parses and prints."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from timm_regnet_ds import __version__

from . import bench, models, scaling, spaces

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0; 1 where some of many models failed and the rest went on; 2, after a line on standard error, where the input
        was wrong; 130 where it was interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show
            return int(options.run(options) or 0)
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
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


def _show(
    message: Warning | str, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """A warning in a line, as the errors of commands are."""
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
    for group in (models, scaling, bench, spaces):
        group.add_commands(commands)
    return parser
