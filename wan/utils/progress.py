r"""What a run tells while it goes on: its stages, their steps and their ETA.

A `Progress` is handed to whoever computes. It draws a bar where stderr is a
terminal, keeps the seconds of each stage, tells a listener of every step (a
page shows the preview of the latent), and ends the run at the next step once
it is cancelled.
"""
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from tqdm import tqdm

log = logging.getLogger(__name__)


class Cancelled(Exception):
    r"""The run was cancelled by `Progress.cancel`."""


@dataclass(frozen=True)
class Step:
    r"""Where a run is.

    Args:
        stage: its name.
        done, total: steps of the stage; 0 of the total when it begins.
        eta: seconds until the stage ends; None before its first step.
        latent: [C, T, h, w] after the step, to make a preview of; None in
            stages that have none.
    """
    stage: str
    done: int
    total: int
    eta: float | None = None
    latent: torch.Tensor | None = None


# (steps done, steps in all, the latent or None): what a stage calls.
OnStep = Callable[..., None]


class Progress:
    r"""Seconds of each stage, a bar, a listener, and a way to stop.

    Args:
        listener: called with a `Step` when a stage begins and after each of
            its steps, in the thread that computes.
    """

    def __init__(self, listener: Callable[[Step], None] | None = None):
        self.seconds: dict[str, float] = {}
        self._listener = listener
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        r"""Have the run end with `Cancelled` at its next step; any thread."""
        self._cancelled.set()

    @contextmanager
    def stage(
        self, name: str, total: int = 1, device: torch.device | None = None
    ) -> Iterator[OnStep]:
        r"""Log a stage and add its seconds to `seconds[name]`.

        Args:
            name: of the stage.
            total: its steps, as far as known before.
            device: waited for at the end, so that the seconds are the
                stage's own.

        Raises:
            Cancelled: on entering or at a step.
        """
        log.info('%s ...', name)
        start = time.perf_counter()
        self._tell(Step(name, 0, total))
        with progress(total, name) as bar:

            def step(done, total, latent=None):
                bar.total = total
                bar.update(done - bar.n)
                each = (time.perf_counter() - start) / done
                self._tell(Step(
                    name, done, total, each * (total - done), latent))

            yield step
            bar.update(bar.total - bar.n)
        if device is not None and device.type == 'cuda':
            torch.cuda.synchronize(device)
        took = time.perf_counter() - start
        self.seconds[name] = self.seconds.get(name, 0.) + took
        log.info('%s: %.1f s', name, took)

    def _tell(self, step: Step) -> None:
        if self._listener is not None:
            self._listener(step)
        if self._cancelled.is_set():
            raise Cancelled(f'cancelled in the stage {step.stage!r}')


def progress(iterable_or_total: Iterable | int, desc: str) -> tqdm:
    r"""A progress bar with its ETA; nothing where stderr is a log.

    An iterable is passed through; a total gives a bar to `update` in a `with`.
    """
    # Of several processes the first draws.
    off = True if os.environ.get('RANK', '0') != '0' else None
    if isinstance(iterable_or_total, int):
        return tqdm(total=iterable_or_total, desc=desc, disable=off)
    return tqdm(iterable_or_total, desc=desc, disable=off)
