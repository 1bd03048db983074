r"""Steps that a sampling leaves out: what it saves, and what is lost.

    python -m wan.synth.bench.cached_sampling --pairs 8

Clips of the embedded model by captions of the tune seeds, with and without
`step_cache`: the share of the evaluations that is left, the PSNR to the clip
of all steps, and how often the judge reads what the caption tells. A table in
Markdown goes to --out.

Exit status: 0 done, 2 bad input, 1 fault, 130 interrupted.
"""
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from wan.jobs.checkpoint import embedded_checkpoint
from wan.step_cache import StepCacheConfig
from wan.text2video import WanT2V
from wan.utils.metrics import psnr
from wan.utils.program import Parser, run_program
from wan.utils.record import atomic_write, check_writable
from wan.velocity import Denoiser

from ..captions import full_caption
from ..judge import WEIGHTS, Judge, agreement
from ..scene import Clip
from .pairs import SEEDS, make_pair
from .stats import Interval, bootstrap
from .store import CONFIG, RUNTIME

THRESHOLDS = (0., 0.05, 0.1, 0.2, 0.4)
SOLVER, STEPS, SEED = 'unipc', 25, 0
OUT = Path('docs/quality/step_cache/sampling.md')


class Counting(Denoiser):
    r"""Adds each of its calls to a pipeline's."""

    def __init__(self, pipe: 'Counted', *args):
        super().__init__(*args)
        self.pipe = pipe

    def __call__(self, *args, **kwargs):
        self.pipe.calls += 1
        return super().__call__(*args, **kwargs)


class Counted(WanT2V):
    r"""Text to video that counts its evaluations."""

    calls = 0

    @property
    def denoiser(self) -> Denoiser:
        return Counting(self, self.model, self.num_train_timesteps,
                        self.runtime.attend)


def sampled(
    pipe: Counted, clip: Clip, seed: int, threshold: float
) -> tuple[Tensor, int]:
    r"""A clip [3, F, H, W] of a caption, and its evaluations."""
    pipe.calls = 0
    video = pipe.generate(
        full_caption(clip), (clip.size, clip.size), clip.frames,
        sample_solver=SOLVER, sampling_steps=STEPS, seed=seed,
        offload_model=False, step_cache=StepCacheConfig(threshold))
    return video, pipe.calls


def measured(
    pipe: Counted, judge: Judge, clip: Clip, seed: int
) -> dict[float, dict[str, float]]:
    r"""By threshold, what became of a clip."""
    found, plain = {}, None
    for threshold in THRESHOLDS:
        video, calls = sampled(pipe, clip, seed, threshold)
        plain = video if plain is None else plain
        verdict = agreement(judge.verdicts(video), clip)
        found[threshold] = {
            'evaluations': calls / (2 * STEPS),
            # Of equal clips it is infinite.
            'PSNR': min(psnr(video, plain), 99.),
            **{f'{name}': float(agrees) for name, agrees in verdict.items()}}
    return found


def table(results: Sequence[dict[float, dict[str, float]]]) -> list[str]:
    r"""Means with intervals over the clips, in Markdown."""
    names = list(results[0][0.])
    lines = ['| step_cache | ' + ' | '.join(names) + ' |',
             '|---|' + '---|' * len(names)]
    for threshold in results[0]:
        cells = [_cell(bootstrap(
            [result[threshold][name] for result in results], SEED))
            for name in names]
        lines.append(f'| {threshold:g} | ' + ' | '.join(cells) + ' |')
    return lines


def _cell(value: Interval) -> str:
    return f'{value.mean:.2f} [{value.low:.2f}, {value.high:.2f}]'


def prepare(argv: Sequence[str] | None) -> argparse.Namespace:
    r"""Flags, checked.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    parser = Parser(
        prog='python -m wan.synth.bench.cached_sampling', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--pairs', type=int, default=8, help='how many clips')
    parser.add_argument('--out', type=Path, default=OUT)
    args = parser.parse_args(argv)
    if not 1 <= args.pairs <= len(SEEDS['tune']):
        raise ValueError(
            f'--pairs is {args.pairs}, allowed is 1 to {len(SEEDS["tune"])}.')
    if not WEIGHTS.is_file():
        raise ValueError(f'The judge has no weights: {WEIGHTS} is missing.')
    check_writable(args.out)
    return args


def report(args: argparse.Namespace) -> None:
    r"""Sample, measure and write the table."""
    torch.set_num_threads(1)
    pipe = Counted(CONFIG, embedded_checkpoint(), runtime=RUNTIME)
    judge = Judge.load(WEIGHTS)
    clips = [make_pair(n, SEEDS['tune']).clip for n in range(args.pairs)]
    results = [measured(pipe, judge, clip, n) for n, clip in enumerate(clips)]
    with atomic_write(args.out) as temporary:
        temporary.write_text('\n'.join([
            '# Step cache: making videos', '',
            f'{args.pairs} captions of the tune seeds, {SOLVER}, {STEPS} '
            f'steps. Evaluations are the share that is left; the others are '
            f'of the clip, mean [95 % interval]: its PSNR to the clip of all '
            f'steps (at most 99), and the share of the clips in which the '
            f'judge reads what the caption tells.', '',
            *table(results)]) + '\n', 'utf-8')


def main(argv: Sequence[str] | None = None) -> int:
    r"""Exit code: see the top of this file."""
    return run_program(
        'wan.synth.bench.cached_sampling', lambda: prepare(argv), report,
        'nothing is written')


if __name__ == '__main__':
    sys.exit(main())
