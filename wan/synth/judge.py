r"""A small classifier that reads what a frame shows, to judge videos by.

It has learned from clean and from degraded frames of the generator alone, so
it knows no other pictures.
"""
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn as nn
from safetensors.torch import save_file
from torch import Tensor

from wan.utils.checkpoint import load_weights
from wan.utils.record import atomic_write

from .depth.scene import SOLIDS, DepthClip
from .scene import PRODUCT_COLOURS, SURFACE_COLOURS, Clip
from .shapes import PATTERNS, SHAPES
from .surfaces import SURFACES

WEIGHTS = Path(__file__).parents[2] / 'checkpoints' / 'judge.safetensors'
DEPTH_WEIGHTS = WEIGHTS.with_name('judge_depth.safetensors')
SIDE = 128
# What is read: one label of each, but of 'colours' those that are there.
LABELS: dict[str, tuple[str, ...]] = {
    'shape': tuple(SHAPES),
    'pattern': tuple(PATTERNS),
    'colour': tuple(PRODUCT_COLOURS),  # the main one
    'colours': tuple(PRODUCT_COLOURS),
    'surface': tuple(SURFACES),
    'surface_colour': tuple(SURFACE_COLOURS),
}
# In the world in depth.
DEPTH_LABELS = LABELS | {'shape': SOLIDS}
# Channels and residual blocks at strides 2, 4, 8 and 16.
STAGES = ((32, 0), (64, 1), (96, 1), (128, 1))
GAZES = 6


@dataclass(frozen=True)
class Verdict:
    r"""What the judge has read.

    Args:
        colour: the product's main one.
        colours: all of the product's, the main one included, in the order of
            `PRODUCT_COLOURS`.
        probabilities: by attribute, in [0, 1]; of 'colours' that of exactly
            this set.
    """
    shape: str
    pattern: str
    colour: str
    colours: tuple[str, ...]
    surface: str
    surface_colour: str
    probabilities: Mapping[str, float]


def attributes(clip: Clip | DepthClip) -> dict[str, str | tuple[str, ...]]:
    r"""A clip's true labels, by the names and in the order of `LABELS`."""
    product = clip.product
    scene = clip.room if isinstance(clip, DepthClip) else clip.scene
    return {
        'shape': product.shape,
        'pattern': product.pattern,
        'colour': product.colours[0],
        'colours': tuple(c for c in LABELS['colours'] if c in product.colours),
        'surface': scene.surface,
        'surface_colour': scene.colour,
    }


def agreement(
    verdict: Verdict, clip: Clip | DepthClip
) -> dict[str, bool]:
    r"""Which attributes have been read as they are in the clip."""
    return {name: getattr(verdict, name) == value
            for name, value in attributes(clip).items()}


class Judge(nn.Module):
    r"""A residual network whose last map is looked at in `GAZES` ways.

    Each gaze is a mean over places with learned weights, so that one can rest
    on the product and another on what is behind it.

    Args:
        labels: what is read: `LABELS`, or `DEPTH_LABELS`.
    """

    def __init__(self, labels: Mapping[str, tuple[str, ...]] = LABELS):
        super().__init__()
        self.labels = labels
        layers, before = [], 3
        for dim, blocks in STAGES:
            layers.append(nn.Conv2d(before, dim, 4, 2, 1))
            layers += [Block(dim) for _ in range(blocks)]
            before = dim
        self.trunk = nn.Sequential(
            *layers, nn.GroupNorm(8, before), nn.ReLU(inplace=True))
        self.gaze = nn.Conv2d(before, GAZES, 1)
        self.head = nn.Linear(
            GAZES * before, sum(map(len, labels.values())))
        self.to(memory_format=torch.channels_last)

    @classmethod
    def load(
        cls,
        path: str | Path = WEIGHTS,
        labels: Mapping[str, tuple[str, ...]] = LABELS,
    ) -> 'Judge':
        r"""The trained judge, in float32 on the CPU.

        Raises:
            CheckpointError: no such file, or not a judge's weights.
        """
        with torch.device('meta'):
            judge = cls(labels)
        judge = load_weights(judge, path, torch.float32)
        return judge.to(memory_format=torch.channels_last)

    def save(self, path: str | Path) -> None:
        r"""Write the weights in bfloat16, which is all that verdicts need."""
        weights = {k: v.to('cpu', torch.bfloat16).contiguous()
                   for k, v in self.state_dict().items()}
        with atomic_write(path) as temporary:
            save_file(weights, temporary)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        r"""Logits by attribute, each [B, labels].

        Args:
            frames: [B, 3, 128, 128] in [-1, 1].

        Raises:
            ValueError: frames of another shape.
        """
        if frames.ndim != 4 or frames.shape[1:] != (3, SIDE, SIDE):
            raise ValueError(
                f'The judge reads frames [B, 3, {SIDE}, {SIDE}], not '
                f'{list(frames.shape)}.')
        frames = frames.contiguous(memory_format=torch.channels_last)
        features = self.trunk(frames)
        weights = self.gaze(features).flatten(2).softmax(2)  # [B, G, H W]
        seen = weights.to(features) @ features.flatten(2).transpose(1, 2)
        logits = self.head(seen.flatten(1)).float()
        parts = logits.split([len(v) for v in self.labels.values()], 1)
        return dict(zip(self.labels, parts, strict=True))

    @torch.no_grad()
    def verdicts(self, frames: Tensor) -> Verdict:
        r"""What the frames of one clip show, by the mean of their logits.

        Args:
            frames: [3, T, 128, 128] in [-1, 1]; a part of a clip is told by
                its slice, as the first frame by `video[:, :1]`.

        Raises:
            ValueError: frames of another shape, or none.
        """
        if frames.ndim != 4 or not frames.size(1):
            raise ValueError(
                f'A verdict needs frames [3, T, {SIDE}, {SIDE}], not '
                f'{list(frames.shape)}.')
        logits = self(frames.transpose(0, 1))
        return decide({name: value.mean(0) for name, value in logits.items()},
                      self.labels)


class Block(nn.Module):
    r"""What two convolutions add to a map."""

    def __init__(self, dim: int):
        super().__init__()
        self.layers = nn.Sequential(*(
            layer for _ in range(2) for layer in (
                nn.GroupNorm(8, dim), nn.ReLU(inplace=True),
                nn.Conv2d(dim, dim, 3, padding=1))))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def decide(
    logits: Mapping[str, Tensor],
    known: Mapping[str, tuple[str, ...]] = LABELS,
) -> Verdict:
    r"""The likeliest labels.

    Args:
        logits: by attribute, each [labels].
        known: the labels.
    """
    names, probabilities = {}, {}
    for name, labels in known.items():
        if name == 'colours':
            continue
        best = int(logits[name].argmax())
        names[name] = labels[best]
        probabilities[name] = float(logits[name].softmax(0)[best])
    shares = logits['colours'].sigmoid().tolist()
    there = [share > 0.5 or label == names['colour']
             for label, share in zip(known['colours'], shares, strict=True)]
    names['colours'] = tuple(
        label for label, is_there in zip(known['colours'], there, strict=True)
        if is_there)
    probabilities['colours'] = float(torch.tensor([
        share if is_there else 1 - share
        for share, is_there in zip(shares, there, strict=True)]).prod())
    return Verdict(**names, probabilities=probabilities)
