"""Jobs of submitit, run in forks of the tests' own process.

submitit starts a process for each task of a job, and that process takes seconds to import torch and timm. Here it
starts a client instead, which only asks a server for a fork.
"""

import json
import multiprocessing
import os
import signal
import socket
import sys
import threading
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def forked_jobs(path):
    """Run a server at the socket ``path``; gives the command to use for ``python -m submitit.core._submit``."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        server = multiprocessing.get_context("fork").Process(target=serve, args=(listening,))
        server.start()
    try:
        yield f"{sys.executable} -SE {Path(__file__)} {path}"
    finally:
        server.kill()
        server.join()


def serve(listening):
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listening.accept()
        if os.fork():
            connection.close()
            continue
        code = 1
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            run(connection)
            code = 0
        finally:
            os._exit(code)


def run(connection):
    from submitit.core.submission import process_job

    request, outputs, *_ = socket.recv_fds(connection, 2**20, 2)
    asked = json.loads(request)
    for number, output in enumerate(outputs, 1):
        os.dup2(output, number)
    os.setpgid(0, asked["group"])  # A kill of the client's process group is one of the job, too.
    os.environ.clear()
    os.environ.update(asked["environment"])
    threading.Thread(target=exit_with_client, args=(connection,), daemon=True).start()
    process_job(asked["folder"])
    connection.send(b"done")


def exit_with_client(connection):
    connection.recv(1)
    os._exit(1)


def ask(path, folder):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        request = {"group": os.getpgrp(), "environment": dict(os.environ), "folder": folder}
        socket.send_fds(connection, [json.dumps(request).encode()], [1, 2])
        return 0 if connection.recv(4) == b"done" else 1  # nothing is received if the job has died


if __name__ == "__main__":
    sys.exit(ask(*sys.argv[1:]))
