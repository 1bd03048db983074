r"""A contact sheet of pairs in depth: template, photo, truth and pastes.

    python -m wan.synth.bench.depth.picture OUT.jpg [--pairs 0 1 2]
"""
import argparse

import torch
from PIL import Image

from wan.utils.compare import contact_sheet

from ...render import photo_pixels
from ..pairs import SEEDS
from .measures import Answer, product_error
from .pairs import make_depth_pair
from .rows import BOUNDS

SHOWN = 5


def sheet(numbers: list[int], seeds: str = 'test') -> Image.Image:
    r"""Rows of the anchored photo and even frames, for each pair."""
    rows = []
    for number in numbers:
        pair = make_depth_pair(number, SEEDS[seeds])
        answer = Answer.of(pair)
        photo = photo_pixels(pair.photos('anchored')[0])
        places = torch.linspace(0, pair.clip.frames - 1, SHOWN).long()
        for bound in BOUNDS:
            video = bound.run(pair, answer, 'anchored')
            error = product_error(video, answer.truth, answer.new)
            rows.append((
                f'{number}: {bound.title}, product error {error:.3f}',
                torch.cat([photo, video[:, places]], 1)))
    return contact_sheet(rows, SHOWN + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', help='image to write')
    parser.add_argument('--pairs', type=int, nargs='+', default=[0, 1, 2])
    args = parser.parse_args()
    sheet(args.pairs).save(args.out)


if __name__ == '__main__':
    main()
