r"""A contact sheet of seeded clips, each with its photo and with a swap.

    python -m wan.synth.preview OUT.png [--seed 0] [--count 4] [--size 128]
"""
import argparse
from random import Random

import torch
from PIL import Image
from torch import Tensor

from wan.utils.compare import contact_sheet

from . import captions, render, sampling, scene

SHOWN = 6


def sheet(seed: int, count: int, size: int) -> Image.Image:
    r"""Rows of the product's photo and frames of the clip, then of a swap."""
    rows = []
    for number in range(seed, seed + count):
        clip, rng = sampling.sample_clip(number, size), Random(number)
        other = scene.swap(clip, sampling.sample_product(rng))
        rows.append((f'{number}: {captions.full_caption(clip)}',
                     _row(clip, rng)))
        rows.append((f'swap: {captions.describe(other.product)}. Some caption: '
                     f'{captions.caption(other, rng)}', _row(other, rng)))
    return contact_sheet(rows, SHOWN + 1)


def _row(clip: scene.Clip, rng: Random) -> Tensor:
    r"""The photo and evenly spaced frames, as one clip."""
    photo = render.render_photo(
        clip.product, sampling.sample_pose(rng), clip.size)
    places = torch.linspace(0, clip.frames - 1, SHOWN).long()
    return torch.cat([
        render.photo_pixels(photo), render.render_clip(clip)[:, places]], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', help='PNG to write')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--count', type=int, default=4)
    parser.add_argument('--size', type=int, default=128)
    args = parser.parse_args()
    sheet(args.seed, args.count, args.size).save(args.out)


if __name__ == '__main__':
    main()
