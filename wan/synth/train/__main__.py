r"""Train the embedded model, one command per stage; each can be resumed.

    python -m wan.synth.train vae
    python -m wan.synth.train latents
    python -m wan.synth.train dit
    python -m wan.synth.train decoder
    python -m wan.synth.train judge
    python -m wan.synth.train quality
"""
import argparse
import logging
from pathlib import Path

import torch

from .dit import train_dit
from .judge import train_judge
from .latents import encode_latents
from .quality import measure_quality
from .vae import train_decoder, train_vae

STAGES = {'vae': train_vae, 'latents': encode_latents, 'dit': train_dit,
          'decoder': train_decoder, 'judge': train_judge,
          'quality': measure_quality}


def main() -> None:
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('stage', choices=STAGES)
    parser.add_argument('--out', type=Path, default=Path('checkpoints/tiny'),
                        help='the checkpoint folder')
    parser.add_argument('--work', type=Path, default=Path('outputs/train'),
                        help='states, logs and sample sheets')
    parser.add_argument('--minutes', type=float,
                        help='stop after so long; run again to go on')
    args = parser.parse_args()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    STAGES[args.stage](
        args.work / args.stage, args.out, args.minutes, device)


if __name__ == '__main__':
    main()
