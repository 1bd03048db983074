r"""Several experiments at once, each in a worker: a process with a device."""
import logging
import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import torch

from ..runtime import Runtime
from .batch import span
from .experiment import Experiment
from .worker import GRACE, Worker

log = logging.getLogger(__name__)


def worker_devices(workers: str, device: str | None = None) -> list[str | None]:
    r"""The device of each worker.

    Args:
        workers: auto, which is one for each CUDA device, or a number.
        device: that is asked for; None for the best there is.

    Raises:
        ValueError: neither, or more than there are CUDA devices.
    """
    if not re.fullmatch('auto|[1-9][0-9]{0,3}', workers):
        raise ValueError(
            f'workers is {workers!r}, allowed: auto, or a number from 1.')
    auto = workers == 'auto'
    if Runtime(device=device).resolved().torch_device.type != 'cuda':
        return [device] * (1 if auto else int(workers))
    cards = [device]
    if not device or device == 'cuda':
        cards = [f'cuda:{i}' for i in range(torch.cuda.device_count())]
    if not auto and int(workers) > len(cards):
        raise ValueError(
            f'workers is {workers}, allowed: auto, or 1 to {len(cards)}, '
            f'one for each CUDA device'
            f'{f" that device {device} names" if device else ""}.')
    return cards if auto else cards[:int(workers)]


def in_workers(
    devices: Sequence[str | None], waiting: list[Experiment]
) -> Iterator[Experiment]:
    r"""Run experiments in order, and give each that has ended.

    However it ends, no worker is left, nor anything half-written.

    Args:
        devices: one for each worker, no more than experiments.

    Raises:
        CheckpointError: weights that cannot be read.
    """
    queue, ended, workers = deque(waiting), [], []
    log.info('%d experiments, %d at once', len(waiting), len(devices))
    with TemporaryDirectory(prefix='wan-workers-') as folder:
        try:
            for i, device in enumerate(devices):
                workers.append(Worker(device, Path(folder, str(i))))
                workers[-1].give(queue.popleft())
            while busy := {w.connection: w for w in workers if w.experiment}:
                for worker in map(busy.get, wait(list(busy))):
                    experiment = worker.hear()
                    if experiment is None:
                        continue
                    if worker.alive and queue:
                        worker.give(queue.popleft())
                    ended.append(experiment)
                    _tell(ended, len(waiting), len(devices))
                    yield experiment
        finally:
            _end(workers)
    if queue:
        log.error('No worker is left: %d experiments wait for another run.',
                  len(queue))


def _end(workers: list[Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    deadline = time.monotonic() + GRACE
    for worker in workers:
        worker.end(deadline)


def _tell(ended: list[Experiment], total: int, at_once: int) -> None:
    took, left = [e.seconds for e in ended if e.seconds], ''
    if took and len(ended) < total:
        rest = fmean(took) * (total - len(ended)) / at_once
        left = f' (about {span(rest)} left)'
    log.info('Experiment %d of %d%s: %s is %s', len(ended), total, left,
             ended[-1].name, ended[-1].status)
