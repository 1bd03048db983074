r"""A training loop that can be stopped at any step and goes on from there.

What a step sees depends on its number alone, so a resumed run takes the steps
that an uninterrupted one would have taken.
"""
import csv
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn as nn
from torch import Tensor
from tqdm import tqdm

from wan.utils.record import atomic_write

log = logging.getLogger(__name__)

LOG_EVERY, SAVE_SECONDS = 100, 120


@dataclass(frozen=True)
class Schedule:
    r"""Learning rate: linear warm-up, constant, linear to 0 at the end.

    Args:
        steps: in all.
        rate: the constant one.
        warmup: steps to reach it.
        decay: share of the steps in which it falls.
        average: decay of the weights' moving average; 0 keeps none.
    """
    steps: int
    rate: float
    warmup: int = 100
    decay: float = 0.3
    average: float = 0.0

    def at(self, step: int) -> float:
        left = (self.steps - step) / max(1, self.decay * self.steps)
        return self.rate * min(1, (step + 1) / self.warmup, left)


class Optimizer:
    r"""Muon (Jordan et al. 2024) for matrices, AdamW for all else.

    On the small VAE 200 steps of images end at 19.2 dB, 15.8 with AdamW
    alone. A convolution's weight is the matrix of its output channels;
    embeddings, whose rows are looked up one by one, are no matrices.
    """

    def __init__(self, network: nn.Module, weight_decay: float):
        looked_up = {id(m.weight) for m in network.modules()
                     if isinstance(m, nn.Embedding)}
        self.matrices, others = [], []
        for p in network.parameters():
            if p.dim() < 2 or id(p) in looked_up or 1 in p.flatten(1).shape:
                others.append(p)
            else:
                self.matrices.append((p, nn.Parameter(_flat(p.data, p))))
        self.parameters = list(network.parameters())
        options = {'lr': 0.0, 'weight_decay': weight_decay}
        self.parts = (
            torch.optim.Muon(
                [view for _, view in self.matrices], **options,
                adjust_lr_fn='match_rms_adamw'),
            torch.optim.AdamW(
                others, **options, betas=(0.9, 0.99), fused=True))

    def step(self, rate: float) -> None:
        r"""Descend by the gradients and forget them."""
        for p, view in self.matrices:
            view.grad = None if p.grad is None else _flat(p.grad, p)
        for part in self.parts:
            for group in part.param_groups:
                group['lr'] = rate
            part.step()
        for p in self.parameters:
            p.grad = None

    def state_dict(self) -> list[dict]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict]) -> None:
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def _flat(tensor: Tensor, weight: Tensor) -> Tensor:
    r"""[out, ...] as a matrix, laid out so that `weight` becomes a view."""
    if not weight.is_contiguous():  # but channels-last
        tensor = tensor.movedim(1, -1)
    return tensor.flatten(1)


# Step number -> the loss to descend and the figures to log.
Step = Callable[[int], tuple[Tensor, Mapping[str, float]]]


class Training:
    r"""What a run has come to: weights, their average, optimizer and step.

    Args:
        network: with its weights in float32; trained in place.
        file: where all of it is kept; if it is there, training goes on.
    """

    def __init__(self, network: nn.Module, schedule: Schedule, file: Path,
                 weight_decay: float):
        self.network, self.schedule, self.file = network, schedule, file
        self.optimizer = Optimizer(network, weight_decay)
        self.average = [p.detach().clone() for p in network.parameters()] \
            if schedule.average else None
        self.step, self.seconds = 0, 0.0
        if file.is_file():
            state = torch.load(file, weights_only=True)
            network.load_state_dict(state['network'])
            self.optimizer.load_state_dict(state['optimizer'])
            self.average = state['average']
            self.step, self.seconds = state['step'], state['seconds']
            if self.step < schedule.steps:
                log.info('Going on from step %d of %d.',
                         self.step, schedule.steps)
            else:
                log.warning('Training had ended at step %d of %d. Remove %s '
                            'to train on.', self.step, schedule.steps, file)
        self.started = self.saved = time.monotonic()

    @property
    def elapsed(self) -> float:
        r"""Seconds of training, earlier runs included."""
        return self.seconds + time.monotonic() - self.started

    def save(self) -> None:
        with atomic_write(self.file) as temporary:
            torch.save(
                {'network': self.network.state_dict(),
                 'average': self.average,
                 'optimizer': self.optimizer.state_dict(),
                 'step': self.step, 'seconds': self.elapsed}, temporary)
        self.saved = time.monotonic()

    def advance(self, step_loss: Step) -> dict[str, Tensor]:
        r"""Take a step; returns its figures."""
        try:
            loss, figures = step_loss(self.step)
            loss.backward()
        except BaseException:
            # Ctrl-C comes here: nothing has changed since the last step.
            self.save()
            raise
        parameters = list(self.network.parameters())
        norm = nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step(self.schedule.at(self.step))
        self.step += 1
        if self.average is not None:
            # A short memory at first, or the start would never be lost.
            decay = min(self.schedule.average, self.step / (self.step + 10))
            torch._foreach_lerp_(
                self.average, [p.detach() for p in parameters], 1 - decay)
        return {'loss': loss.detach(), **figures, 'norm': norm}


def fit(
    network: nn.Module,
    step_loss: Step,
    schedule: Schedule,
    folder: Path,
    minutes: float | None = None,
    show: Callable[[int, nn.Module], None] | None = None,
    show_every: int = 1000,
    weight_decay: float = 0.01,
) -> bool:
    r"""Train, or go on training, a network in place.

    Args:
        network: with its weights in float32.
        step_loss: called with the step's number, under no autocast.
        folder: state.pt and log.csv are kept there.
        minutes: stop after so long, to be resumed; None trains to the end.
        show: draws samples of the averaged network now and then.

    Returns:
        Whether the schedule's end has been reached. Then, or on a stop, the
        network holds its averaged weights if there is an average.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = Training(network, schedule, folder / 'state.pt', weight_decay)
    record = _Log(folder / 'log.csv')
    bar = tqdm(total=schedule.steps, initial=run.step, disable=None)
    with bar:
        while run.step < schedule.steps:
            record.add(run.advance(step_loss))
            bar.update()
            ends = run.step == schedule.steps
            if ends or run.step % LOG_EVERY == 0:
                bar.set_postfix_str(record.write(run.step, run.elapsed))
            if show and (ends or run.step % show_every == 0):
                with averaged(network, run.average):
                    show(run.step, network)
            if time.monotonic() - run.saved > SAVE_SECONDS:
                run.save()
            if minutes and time.monotonic() - run.started > 60 * minutes:
                break
    run.save()
    averaged(network, run.average).swap()
    return run.step == schedule.steps


class _Log:
    r"""Means of the figures of some steps, as lines of a CSV file."""

    def __init__(self, file: Path):
        self.file, self.steps = file, []

    def add(self, figures: Mapping[str, Tensor]) -> None:
        self.steps.append({k: float(v) for k, v in figures.items()})

    def write(self, step: int, seconds: float) -> str:
        r"""Add a line; returns its loss, to be shown."""
        means = {name: sum(s[name] for s in self.steps) / len(self.steps)
                 for name in self.steps[0]}
        self.steps = []
        new = not self.file.is_file()
        with self.file.open('a', newline='', encoding='utf-8') as file:
            rows = csv.writer(file, lineterminator='\n')
            if new:
                rows.writerow(['step', 'seconds', *means])
            rows.writerow([step, round(seconds),
                           *(f'{v:.5g}' for v in means.values())])
        return f'loss {means["loss"]:.4f}'


class averaged:
    r"""Context in which a network holds its averaged weights."""

    def __init__(self, network: nn.Module, average: list[Tensor] | None):
        self.parameters = list(network.parameters())
        self.average = average

    def __enter__(self):
        self.swap()

    def __exit__(self, *_):
        self.swap()

    def swap(self):
        r"""Exchange the weights and their average, if there is one."""
        for p, mean in zip(self.parameters, self.average or (), strict=False):
            kept = p.data.clone()
            p.data.copy_(mean)
            mean.copy_(kept)
