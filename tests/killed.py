"""Runs that are killed: forked from the tests' own process, so that many of them take no time."""

import multiprocessing
import os
import time
from collections.abc import Callable
from itertools import islice

FORK = multiprocessing.get_context("fork")


def run_and_kill(work: Callable[[Callable[[object], None]], None], lines: int, delay: float = 0.0) -> list[str]:
    """Run ``work(say)`` in a process that is killed ``delay`` seconds after it has said a number of lines.

    Returns:
        What it said until it ended. ``say(x)`` has been heard once it returns.
    """
    reading, writing = os.pipe()

    def run() -> None:
        os.close(reading)
        work(lambda x: os.write(writing, f"{x}\n".encode()) and None)

    process = FORK.Process(target=run)
    process.start()
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = [*islice(pipe, lines)]
        time.sleep(delay)
        process.kill()
        said += pipe
    process.join()
    return [line.rstrip("\n") for line in said]
