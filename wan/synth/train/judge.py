r"""The judge: trained on single frames of the procedural clips."""
import logging
import math
from collections.abc import Iterable
from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

from wan.training.loop import Schedule, fit

from .. import TRAIN_SEEDS, TUNE_SEEDS, Clip
from ..depth import DepthClip
from ..judge import SIDE, Judge, agreement, attributes, decide
from .world import WORLDS, World

log = logging.getLogger(__name__)

SCHEDULE = Schedule(steps=3000, rate=2e-3, decay=0.4)
BATCH = 32
HELD_OUT = 512
# Most of each fault that a frame can get; sizes in pixels, the rest in units
# of [-1, 1]. A blur of 1.2 px is about what a narrow VAE leaves.
BLUR = 1.2
SMALLEST = 56
NOISE = 0.08
STAINS = 0.06
CHECKS = 0.06
TINT = 0.06


def draw_frames(
    seeds: Iterable[int], world: World = WORLDS['flat']
) -> tuple[list[Clip | DepthClip], Tensor]:
    r"""A frame of each clip, at a moment of the seed's own.

    Returns:
        The clips and [B, 3, 128, 128] in [-1, 1].
    """
    clips = [world.frozen(world.sample(seed, SIDE),
                          Random(f'moment {seed}').uniform(-0.5, 0.5))
             for seed in seeds]
    return clips, torch.cat([world.render(clip) for clip in clips], 1
                            ).transpose(0, 1).contiguous()


def degrade(frames: Tensor, generator: torch.Generator) -> Tensor:
    r"""Frames as a small VAE or transformer may give them back.

    Each gets its own amounts of blur, lost resolution, noise, stains,
    checkerboard and tint; one in four stays as it is.

    Args:
        frames: [B, 3, S, S] in [-1, 1].
    """
    count, _, side, _ = frames.shape

    def draw(*shape, low=-1.0):
        return torch.rand(shape, generator=generator) * (1 - low) + low

    def resized(x, side):
        return F.interpolate(x, (side, side), mode='bilinear', antialias=True)

    y = blurred(frames, BLUR * draw(count, 1, low=0.01))
    small = round(float(draw(1, low=SMALLEST / side)) * side)
    y[::2] = resized(resized(y[::2], small), side)
    stains = resized(torch.randn(count, 3, 8, 8, generator=generator), side)
    cell = (8, 16)[int(draw(1) > 0)]
    sign = 1 - 2 * (torch.arange(side) // cell % 2)
    y = y + NOISE * draw(count, 1, 1, 1, low=0) * torch.randn(
        y.shape, generator=generator)
    y += STAINS * draw(count, 1, 1, 1, low=0) * stains
    y += CHECKS * draw(count, 3, 1, 1) * (sign[:, None] * sign)
    y = y * (1 + TINT * draw(count, 3, 1, 1)) + TINT * draw(count, 3, 1, 1)
    spared = draw(count, 1, 1, 1, low=0) < 0.25
    return torch.where(spared, frames, y.clamp_(-1, 1))


def blurred(frames: Tensor, sigma: Tensor) -> Tensor:
    r"""Frames [B, C, H, W] under a Gaussian of sigma [B, 1] pixels each."""
    radius = math.ceil(3 * BLUR)
    taps = torch.arange(-radius, radius + 1).square()
    taps = (taps / (-2 * sigma.square())).softmax(1).repeat_interleave(
        frames.size(1), 0)[:, None]  # [B C, 1, taps]
    planes = F.pad(frames.flatten(0, 1)[None], (radius,) * 4, 'replicate')
    for kernel in (taps[..., None], taps[:, :, None]):
        planes = F.conv2d(planes, kernel, groups=len(taps))
    return planes.view(frames.shape)


def batch(
    step: int, world: World = WORLDS['flat']
) -> tuple[Tensor, dict[str, Tensor]]:
    r"""The step's own frames and, by attribute, what they show.

    Returns:
        [B, 3, 128, 128] in [-1, 1]; the label's number [B], of 'colours' 0
        or 1 for each label, [B, 10].
    """
    first = step * BATCH
    labels = world.labels
    clips, frames = draw_frames(TRAIN_SEEDS[first:first + BATCH], world)
    frames = degrade(frames, torch.Generator().manual_seed(step))
    truths = [attributes(clip) for clip in clips]
    targets = {
        name: torch.tensor([known.index(truth[name]) for truth in truths])
        for name, known in labels.items() if name != 'colours'}
    targets['colours'] = torch.tensor([
        [float(label in truth['colours']) for label in labels['colours']]
        for truth in truths])
    return frames, targets


def losses(
    logits: dict[str, Tensor], targets: dict[str, Tensor]
) -> dict[str, Tensor]:
    r"""The cross entropy of each attribute, in units of a blind guess's."""
    return {
        name: F.binary_cross_entropy_with_logits(found, targets[name])
        / math.log(2) if name == 'colours' else
        F.cross_entropy(found, targets[name]) / math.log(found.size(1))
        for name, found in logits.items()}


def train_judge(
    folder: Path, out: Path, minutes: float | None = None,
    device: str = 'cpu', world: World = WORLDS['flat'],
    schedule: Schedule = SCHEDULE,
) -> bool:
    r"""Train the judge; at the end write it beside the checkpoint folder.

    Args:
        folder: of the training state and log.
        out: the checkpoint folder.
        minutes: stop after so long, to be resumed.

    Returns:
        Whether training has ended.
    """
    torch.manual_seed(0)
    judge = Judge(world.labels).to(device)

    def loss(step):
        frames, targets = batch(step, world)
        targets = {k: v.to(device) for k, v in targets.items()}
        with torch.autocast(device, torch.bfloat16):
            logits = judge(frames.to(device))
        parts = losses(logits, targets)
        return sum(parts.values()) / len(parts), {
            k: v.detach() for k, v in parts.items()}

    def show(step, _):
        report(judge, device, world)

    done = fit(judge, loss, schedule, folder, minutes, show, show_every=500)
    if done:
        path = out.parent / world.judge.name
        judge.save(path)
        log.info('Wrote %s', path)
    return done


def report(judge: Judge, device: str, world: World) -> None:
    r"""Log how much of held-out frames is read rightly, clean and degraded."""
    clips, frames = draw_frames(TUNE_SEEDS[:HELD_OUT], world)
    for name, seen in (('clean', frames), ('degraded', degrade(
            frames, torch.Generator().manual_seed(0)))):
        right = accuracy(judge, clips, seen, device)
        log.info('Held out, %s: %s', name, ', '.join(
            f'{k} {100 * v:.1f} %' for k, v in right.items()))


@torch.no_grad()
def accuracy(
    judge: Judge, clips: list[Clip | DepthClip], frames: Tensor,
    device: str = 'cpu',
) -> dict[str, float]:
    r"""Share of frames of which each attribute is read rightly, in [0, 1].

    Args:
        clips: of B frames.
        frames: [B, 3, 128, 128] in [-1, 1].
    """
    logits = [judge(part.to(device)) for part in frames.split(BATCH)]
    logits = {name: torch.cat([part[name] for part in logits]).cpu()
              for name in judge.labels}
    found = [agreement(decide({k: v[i] for k, v in logits.items()},
                              judge.labels), clip)
             for i, clip in enumerate(clips)]
    return {name: sum(each[name] for each in found) / len(found)
            for name in judge.labels}
