r"""Tiny templates, and patches to lay over them."""
from pathlib import Path

import torch

from tests.utils.media import ffmpeg
from wan.footage import Patch

COUNT = 12
MOTION = 'testsrc2=s={0}x{1}:r={2},noise=alls=9:allf=t'
RED, GREY = (1., -1., -1.), (0., 0., 0.)


def template(
    path: Path, *options, size=(96, 64), rate='24', pixels='yuv420p',
    codec=('libx264', '-crf', '8', '-bf', '2', '-preset', 'veryfast'),
    frames: int = COUNT, inputs=(),
) -> Path:
    r"""A noisy clip; `options` go to the output, `inputs` beside it."""
    ffmpeg('-f', 'lavfi', '-i', MOTION.format(*size, rate), *inputs,
           '-frames:v', frames, '-c:v', *codec, '-pix_fmt', pixels, *options,
           path)
    return path


def patch(left=16, top=8, width=24, height=16, colour=RED, weight=1.):
    r"""A box of one colour."""
    return Patch(
        torch.tensor(colour)[:, None, None].repeat(1, height, width),
        torch.full((height, width), weight), left, top)


def same(footage, make=patch, **given):
    r"""A patch for each frame of a template."""
    return [make(**given) for _ in footage.ticks]
