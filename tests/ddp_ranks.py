"""Runs of examples/train_ddp.py, each with two ranks that are forks of the process that calls `run_steps`."""

import multiprocessing
import os
import socket
import sys
import time
from pathlib import Path

import torch

FORK = multiprocessing.get_context("fork")


def run_steps(examples, steps):
    """Run the jobs of each step one after another; kill those of a step that has ``kill_after`` rows in its summary."""
    sys.path.insert(0, str(examples))
    for step in steps:
        ranks = start(step["jobs"])
        if "kill_after" in step:
            summary = Path(step["summary"])
            while True:
                alive = all(process.is_alive() for process in ranks)
                # Asked for first: on a busy machine, the ranks may end before the summary is read again.
                if summary.exists() and len(summary.read_text().splitlines()) > step["kill_after"]:
                    break
                assert alive
                time.sleep(0.01)
            for process in ranks:
                process.kill()
        for process in ranks:
            process.join()
        assert "kill_after" in step or [process.exitcode for process in ranks] == [0, 0]


def start(jobs):
    jobs = [(arguments, free_port()) for arguments in jobs]
    ranks = [FORK.Process(target=run_rank, args=(number, jobs)) for number in range(2)]
    for process in ranks:
        process.start()
    return ranks


def run_rank(number, jobs):
    import train_ddp

    torch.set_num_threads(1)
    for arguments, port in jobs:
        os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        train_ddp.train(train_ddp.parse(arguments))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
