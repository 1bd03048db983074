r"""Train the embedded model, one command per stage; each can be resumed.

    python -m wan.synth.train vae
    python -m wan.synth.train latents
    python -m wan.synth.train dit
    python -m wan.synth.train decoder
    python -m wan.synth.train judge
    python -m wan.synth.train quality

Exit status: 0 done or stopped after --minutes, 2 bad input, 1 fault, 130
interrupted.
"""
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from wan.configs import WAN_CONFIGS
from wan.utils.checkpoint import find_weights
from wan.utils.program import Parser, run_program

from .dit import train_dit
from .judge import train_judge
from .latents import NAMES, encode_latents, shards
from .quality import measure_quality
from .vae import train_decoder, train_vae
from .world import WORLDS

STAGES = {'vae': train_vae, 'latents': encode_latents, 'dit': train_dit,
          'decoder': train_decoder, 'judge': train_judge,
          'quality': measure_quality}


# Those that start from nothing.
FIRST = ('vae', 'judge')
# Of each world: the checkpoint, and all else.
FOLDERS = {
    'flat': (Path('checkpoints/tiny'), Path('outputs/train')),
    'depth': (Path('checkpoints/depth'), Path('outputs/train_depth')),
}


def prepare(argv: Sequence[str] | None) -> argparse.Namespace:
    r"""Flags, and what the stage needs of the ones before, all checked.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    parser = Parser(
        prog='python -m wan.synth.train', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('stage', choices=STAGES)
    parser.add_argument(
        '--world', choices=WORLDS, default='flat',
        help='flat shapes, or solids in depth (default: %(default)s)')
    parser.add_argument(
        '--out', type=Path,
        help='the checkpoint folder (default: checkpoints/tiny; in depth '
        'checkpoints/depth)')
    parser.add_argument(
        '--work', type=Path,
        help='states, logs and sample sheets (default: outputs/train, in '
        'depth outputs/train_depth)')
    parser.add_argument('--minutes', type=float,
                        help='stop after so long; run again to go on')
    args = parser.parse_args(argv)
    out, work = FOLDERS[args.world]
    args.out, args.work = args.out or out, args.work or work
    if args.minutes is not None and not args.minutes > 0:
        raise ValueError(f'--minutes is {args.minutes}, allowed is above 0.')
    if args.stage not in FIRST:
        find_weights(args.out / WAN_CONFIGS['t2v-tiny'].vae_checkpoint)
    if args.stage == 'dit':
        for kind in NAMES:
            shards(args.work / 'latents', kind)
    return args


def train(args: argparse.Namespace) -> None:
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    STAGES[args.stage](
        args.work / args.stage, args.out, args.minutes, device,
        WORLDS[args.world])


def main(argv: Sequence[str] | None = None) -> int:
    r"""Exit code: see the top of this file."""
    return run_program(
        'wan.synth.train', lambda: prepare(argv), train,
        'run again to go on')


if __name__ == '__main__':
    sys.exit(main())
