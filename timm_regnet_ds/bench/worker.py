"""A process that runs each function call in a fresh copy of itself.

What a process has done before changes what it measures. On the CPU, malloc keeps freed blocks, so that the next model
finds them warm (a quarter of EfficientNet-B0's time). On a GPU, every kernel fails after one has failed. The worker
imports this package and does nothing else. It forks for each call, so that every call starts in the same state, and a
call that takes its process down is a failure like any other. A call may fork again, as `call_in_fork` does, so that
several processes share what the call has prepared.

Python's own ``forkserver`` start method imports the caller's main module into its children, so that a script without
``if __name__ == "__main__":`` would run again. Its children also go on when their caller is killed.
"""

import contextlib
import gc
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

__all__ = ["DeadlineError", "ProcessDiedError", "Worker", "WorkerEndedError", "call_in_fork", "serve"]

P = ParamSpec("P")
T = TypeVar("T")


class ProcessDiedError(RuntimeError):
    """The process of a call died before it answered, by a signal or by ``exit``."""


class WorkerEndedError(RuntimeError):
    """The worker itself has ended, so that no call can be made."""


class DeadlineError(RuntimeError):
    """A call took too long and was ended."""


class Worker:
    """Makes calls one at a time, each in a process of its own."""

    def __init__(self) -> None:
        self.process = self._start()
        self._closed = False

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", f"from {__name__} import serve; serve({os.getpid()})"]
        # torch.cuda.is_available() would initialize CUDA, which forked children cannot use; its NVML-based check does
        # not. The worker finds every module where the caller finds it.
        environment = {
            **os.environ,
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        }
        # In a session of its own it does not receive the interrupts of the caller's terminal.
        return subprocess.Popen(
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
        return self.call_within(None, function, *args, **kwargs)

    def call_within(self, seconds: float | None, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`call` with a deadline. A call that is ended takes the worker with it; the next call starts another.

        Raises:
            DeadlineError: the call took longer than these seconds.
        """
        if self._closed:
            self.process, self._closed = self._start(), False
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        # The inner pickle is read by the fresh process, so that only that process imports the function's module.
        request = pickle.dumps(pickle.dumps((function, args, kwargs)))
        try:
            self.process.stdin.write(request)
            self.process.stdin.flush()
            if not select.select([self.process.stdout], [], [], seconds)[0]:
                self.close()
                raise DeadlineError(f"it took longer than its deadline of {seconds:g} s and was ended")
            result, error = pickle.load(self.process.stdout)
        except (BrokenPipeError, EOFError):
            code = self.process.wait()
            raise WorkerEndedError(f"the process that measures has ended with exit code {code}") from None
        if error is not None:
            raise error
        value: T = result
        return value

    def close(self) -> None:
        """End the worker and a call in progress; a later call starts another worker."""
        self._closed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        # A process that waits for a driver does not end at once; it is not waited for.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_SECONDS_TO_END)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_SECONDS_TO_END = 10


def serve(caller: int) -> None:
    """Answer the pickled requests on standard input until it ends.

    Args:
        caller: the process that makes the requests. A call ends when this process has ended.
    """
    # Answers have a pipe of their own: what a model prints goes to standard error.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # What was imported is no garbage. Each fresh process would look at it, and so copy its memory, many times.
    gc.collect()
    gc.freeze()
    while True:
        try:
            request: bytes = pickle.load(sys.stdin.buffer)
        except EOFError:
            gc.unfreeze()
            return
        try:
            answer = _fork(partial(_answer, partial(pickle.loads, request)), partial(_exists, caller))
        except ProcessDiedError as error:
            answer = pickle.dumps((None, error))
        with contextlib.suppress(BrokenPipeError):  # the caller has ended
            answers.write(answer)
            answers.flush()


def call_in_fork(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return ``function(*args, **kwargs)``, computed in a fork of this process; only the result must be picklable.

    Raises:
        Exception: what the function raises; a RuntimeError with its message if it cannot be pickled.
        ProcessDiedError: the process died.
    """
    parent = os.getpid()
    answer = _fork(partial(_answer, lambda: (function, args, kwargs)), lambda: os.getppid() == parent)
    result, error = pickle.loads(answer)
    if error is not None:
        raise error
    value: T = result
    return value


def _fork(function: Callable[[], bytes], is_wanted: Callable[[], bool]) -> bytes:
    """What a function returns in a fork of this process, which ends when ``is_wanted`` is false."""
    receiving, sending = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the thread that waits in `_exit_unless`
        child = os.fork()
    if not child:
        code = 1
        try:
            os.close(receiving)
            threading.Thread(target=_exit_unless, args=(is_wanted,), daemon=True).start()
            with os.fdopen(sending, "wb") as pipe:
                pipe.write(function())
            code = 0
        finally:  # An error must not reach the callers of this function, which would answer a second time.
            os._exit(code)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if status or not answer:
        code = os.waitstatus_to_exitcode(status)
        how = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
        raise ProcessDiedError(f"its process was ended {how}")
    return answer


def _answer(request: Callable[[], tuple[Callable[..., Any], Any, Any]]) -> bytes:
    """The pickled pair of a result and an exception, one of which is None."""
    try:
        function, args, kwargs = request()
        return pickle.dumps((function(*args, **kwargs), None))
    except BaseException as error:  # also SystemExit, which would end the process without an answer
        return pickle.dumps((None, _picklable(error)))


def _picklable(error: BaseException) -> Exception:
    with contextlib.suppress(Exception):
        if isinstance(pickle.loads(pickle.dumps(error)), Exception):
            assert isinstance(error, Exception)
            return error
    return RuntimeError(str(error) or type(error).__name__)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _exit_unless(is_wanted: Callable[[], bool]) -> None:
    """End this process, also in the middle of a measurement, when nobody waits for its answer."""
    while is_wanted():
        time.sleep(1)
    os._exit(1)
