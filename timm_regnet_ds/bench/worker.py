"""A process that measures each job in a fresh copy of itself.

What a process has done before changes what it measures: on the CPU, malloc keeps the memory that large blocks had, and
the next model finds it warm (a quarter of EfficientNet-B0's time); on a GPU, a kernel that fails leaves all later ones
failing. The worker imports and does nothing else; for each request it forks, so that every model begins alike, and one
that takes its process down is a failure as any other.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm_regnet_ds

__all__ = ["Worker", "serve"]


class Worker:
    """Answers requests one at a time, each in a process of its own."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
        # With NVML the question whether there is a card leaves the forked copies able to use it.
        environment = {**os.environ, "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
        # It imports this very package, wherever that was found.
        here = str(Path(timm_regnet_ds.__file__).parents[1])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
        # A session of its own, so that an interrupt reaches the caller alone.
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )

    def ask(self, function: str, **arguments: Any) -> dict[str, Any]:
        """What one of `_FUNCTIONS` returns; under ``failure``, why it does not.

        Raises:
            RuntimeError: the worker itself has ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps([function, arguments]) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that measures has ended with exit code {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it, and what it is doing."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _job(row: dict[str, Any], ceilings: dict[str, Any]) -> dict[str, Any]:
    from .ceilings import Ceilings
    from .harness import bench_named
    from .setting import Setting

    setting = Setting.recorded(row["asked"])
    found, repetitions = bench_named(row["model"], row["model_args"], setting, Ceilings(**ceilings))
    return {"row": found.to_row(), "repetitions": repetitions.to_dict()}


def _ceilings(device: str, dtype: str, threads: int) -> dict[str, Any]:
    from .ceilings import measured_here

    return measured_here(device, dtype, threads).to_dict()


_FUNCTIONS: dict[str, Callable[..., dict[str, Any]]] = {"job": _job, "ceilings": _ceilings}


def _answer(line: str) -> str:
    function, arguments = json.loads(line)
    try:
        return json.dumps({**_FUNCTIONS[function](**arguments), "failure": None})
    except Exception as error:
        # Whatever a model raises is a failure: the caller goes on.
        return json.dumps({"failure": str(error) or type(error).__name__})


def _end_with(caller: int) -> None:
    """End this process, in the middle of a measurement, when the caller is no more."""
    while True:
        time.sleep(1)
        try:
            os.kill(caller, 0)
        except ProcessLookupError:
            os._exit(1)


def serve() -> None:
    """Answer what comes on standard input, a line each, until it ends."""
    # What a model prints is not an answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    caller = os.getppid()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            threading.Thread(target=_end_with, args=(caller,), daemon=True).start()
            with contextlib.suppress(BrokenPipeError):  # the caller is no more
                print(_answer(line), file=answers, flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            code = os.waitstatus_to_exitcode(status)
            how = f"with exit code {code}" if code > 0 else f"by {signal.Signals(-code).name}"
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps({"failure": f"its process was ended {how}"}), file=answers, flush=True)
