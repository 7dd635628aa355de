"""A process that runs each function call in a fresh copy of itself.

What a process has done before changes what it measures. On the CPU, malloc keeps freed blocks, so that the next model
finds them warm (a quarter of EfficientNet-B0's time). On a GPU, every kernel fails after one has failed. The worker
imports this package and does nothing else. It forks for each call, so that every call starts in the same state, and a
call that takes its process down is a failure like any other.

Python's own ``forkserver`` start method imports the caller's main module into its children, so that a script without
``if __name__ == "__main__":`` would run again. Its children also go on when their caller is killed.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

__all__ = ["ProcessDiedError", "Worker", "WorkerEndedError", "serve"]

P = ParamSpec("P")
T = TypeVar("T")


class ProcessDiedError(RuntimeError):
    """The process of a call died before it answered, by a signal or by ``exit``."""


class WorkerEndedError(RuntimeError):
    """The worker itself has ended, so that no call can be made."""


class Worker:
    """Makes calls one at a time, each in a process of its own."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
        # torch.cuda.is_available() would initialize CUDA, which forked children cannot use; its NVML-based check does
        # not. The worker finds every module where the caller finds it.
        environment = {
            **os.environ,
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        }
        # In a session of its own it does not receive the interrupts of the caller's terminal.
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
        )

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return ``function(*args, **kwargs)``, computed in a fresh process.

        Args:
            function: a function of an importable module.
            *args: picklable arguments, as ``kwargs``.

        Raises:
            Exception: what the function raises; a RuntimeError with its message if it cannot be pickled.
            ProcessDiedError: the process died.
            WorkerEndedError: the worker itself has ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        # The inner pickle is read by the fresh process, so that only that process imports the function's module.
        request = pickle.dumps(pickle.dumps((function, args, kwargs)))
        try:
            self.process.stdin.write(request)
            self.process.stdin.flush()
            result, error = pickle.load(self.process.stdout)
        except (BrokenPipeError, EOFError):
            code = self.process.wait()
            raise WorkerEndedError(f"the process that measures has ended with exit code {code}") from None
        if error is not None:
            raise error
        value: T = result
        return value

    def close(self) -> None:
        """End the worker and a call in progress."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve() -> None:
    """Answer the pickled requests on standard input until it ends."""
    # Answers have a pipe of their own: what a model prints goes to standard error.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    caller = os.getppid()
    while True:
        try:
            request: bytes = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        child = os.fork()
        if not child:
            threading.Thread(target=_exit_with, args=(caller,), daemon=True).start()
            _send(answers, _answer(request))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            code = os.waitstatus_to_exitcode(status)
            how = f"with exit code {code}" if code > 0 else f"by {signal.Signals(-code).name}"
            _send(answers, pickle.dumps((None, ProcessDiedError(f"its process was ended {how}"))))


def _answer(request: bytes) -> bytes:
    """The pickled pair of a result and an exception, one of which is None."""
    try:
        function, args, kwargs = pickle.loads(request)
        return pickle.dumps((function(*args, **kwargs), None))
    except BaseException as error:  # also SystemExit, which would end the process without an answer
        return pickle.dumps((None, _picklable(error)))


def _picklable(error: BaseException) -> Exception:
    with contextlib.suppress(Exception):
        if isinstance(pickle.loads(pickle.dumps(error)), Exception):
            assert isinstance(error, Exception)
            return error
    return RuntimeError(str(error) or type(error).__name__)


def _send(answers: Any, answer: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):  # the caller has ended
        answers.write(answer)
        answers.flush()


def _exit_with(caller: int) -> None:
    """End this process, also in the middle of a measurement, when the caller has ended."""
    while True:
        time.sleep(1)
        try:
            os.kill(caller, 0)
        except ProcessLookupError:
            os._exit(1)
