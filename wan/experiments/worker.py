r"""A worker: a process with a device, which runs experiments for its parent.

It loads the model once and is handed one experiment after another through a
pipe of its own. Nothing is shared among workers, so that one which dies takes
only its own experiment with it.
"""
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from logging.handlers import QueueHandler
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from ..utils.program import Terminated
from ..utils.temporary import clear
from ..utils.weights import CheckpointError
from .batch import Loader, run_one
from .experiment import Experiment

log = logging.getLogger(__name__)

# Seconds that a worker has to clean up before it is killed.
GRACE = 10.
# Characters of what a worker printed that go to the error log if it dies.
PRINTED = 10_000


class Worker:
    r"""A worker as its parent has it.

    `experiment` is what it works on, None while it has nothing to do.

    Args:
        device: of its pipeline.
        printed: file for what it prints.
    """

    def __init__(self, device: str | None, printed: Path):
        context = get_context('spawn')
        self.device, self.alive = device, True
        self.experiment: Experiment | None = None
        self.printed, self.last_words = printed, ''
        self.connection, there = context.Pipe()
        # Another number of threads would give other last digits.
        self.process = context.Process(
            target=work, daemon=True,
            args=(there, device, torch.get_num_threads(), printed))
        with _ctrl_c_held():
            self.process.start()
        there.close()

    def give(self, experiment: Experiment) -> None:
        r"""Have an experiment run."""
        self.experiment = experiment
        given = experiment.given
        if self.device is not None:
            given = {**given, 'device': self.device}
        with suppress(OSError):  # it is dead, as is heard next
            self.connection.send(replace(experiment, given=given))

    def hear(self) -> Experiment | None:
        r"""Take what the worker tells; gives its experiment if that has ended.

        Raises:
            CheckpointError: weights that cannot be read.
        """
        experiment = self.experiment
        try:
            told = self.connection.recv()
        except (EOFError, OSError):
            self._died()
            return experiment
        if isinstance(told, CheckpointError):
            raise told
        if isinstance(told, logging.LogRecord):
            log.log(told.levelno, '%s: %s', experiment.name, told.getMessage())
            return None
        result, self.alive = told
        vars(experiment).update(vars(result))
        self.experiment = None
        if not self.alive:
            log.warning('The worker on %s ends.', self.device or 'its device')
        return experiment

    def _died(self) -> None:
        experiment = self.experiment
        self.end(time.monotonic() + GRACE)
        code = self.process.exitcode
        how = f'ended with exit code {code}' if code >= 0 else \
            f'died of signal {-code} ({signal.strsignal(-code)})'
        if code == -signal.SIGKILL:
            how += ', as happens where memory runs out'
        for line in self.last_words.splitlines()[-1:]:
            how += f': {line}'
        experiment.fail(RuntimeError(f'The worker {how}'))
        experiment.cause += self.last_words
        experiment.write_log()

    def end(self, deadline: float) -> None:
        r"""Wait for its end, and remove what it left unfinished."""
        if self.connection.closed:
            return
        self.alive = False
        self.process.join(max(0, deadline - time.monotonic()))
        self.process.kill()
        self.process.join()
        self.connection.close()
        if self.printed.exists():
            self.last_words = self.printed.read_text(
                errors='replace')[-PRINTED:]
        if self.experiment:
            clear(self.experiment.folder)
            self.experiment = None


@contextmanager
def _ctrl_c_held() -> Iterator[None]:
    r"""Processes that are started here do not hear Ctrl-C; this one, later.

    A terminal sends it to all of them, and the parent ends the workers.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# In the worker's process


def work(
    connection: Connection, device: str | None, threads: int, printed: Path
) -> None:
    r"""Run what comes through a connection, until the parent ends this.

    Args:
        connection: gives experiments; takes each with whether the worker can
            go on, warnings as they come, and what is wrong with the weights.
        device: that the experiments name.
        threads: to compute with on the CPU.
        printed: file that gets what is printed.
    """
    signal.signal(signal.SIGTERM, _terminated)
    threading.Thread(target=_follow_parent, daemon=True).start()
    with open(printed, 'ab') as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    handler = QueueHandler(None)
    handler.enqueue = connection.send
    logging.getLogger().addHandler(handler)  # which takes warnings only
    torch.set_num_threads(threads)
    if device and torch.device(device).type == 'cuda':
        torch.cuda.set_device(device)
    load = Loader()
    try:
        while True:
            experiment = connection.recv()
            connection.send((experiment, _goes_on(experiment, load)))
    except CheckpointError as error:
        connection.send(CheckpointError(str(error)))
    except Terminated:
        sys.exit(128 + signal.SIGTERM)
    except (EOFError, OSError):
        pass  # the parent has ended


def _goes_on(experiment: Experiment, load: Loader) -> bool:
    r"""Run an experiment; whether another one can be run after it."""
    try:
        run_one(experiment, load)
        if experiment.status == 'failed' and torch.cuda.is_initialized():
            torch.cuda.synchronize()  # some faults stay until the end
    except CheckpointError:
        raise
    except Exception as error:
        if experiment.status != 'failed':  # the model could not be loaded
            experiment.fail(error)
            experiment.write_log()
        return False
    return True


def _terminated(*args: object) -> None:
    raise Terminated


def _follow_parent() -> None:
    parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)
