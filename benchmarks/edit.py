r"""Time a whole edit of the embedded model, stage by stage, side by side.

    python -m benchmarks.edit                           # a CPU, 10 minutes
    python -m benchmarks.edit --write docs/speed.md
    python -m benchmarks.edit --device cuda

Edited is a pair of wan.synth.bench, of which the true result is known. Beside
ours runs a plain loop over diffusers' transformer and VAE with the same
weights (plain_edit.py). All take turns, so that other programs slow them
alike; CPU time hardly feels these. FLOPs are counted by torch in a run of
their own, peak memory is that of tensors, see peak.py.
"""
import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from wan.configs import WAN_CONFIGS
from wan.jobs.checkpoint import EMBEDDED, EMBEDDED_CONFIG
from wan.product.collage import collage
from wan.product.masks import Region, composite
from wan.product.photo import Product
from wan.pvtt import WanPVTT
from wan.runtime import Runtime
from wan.sparse import DENSE, SparseConfig
from wan.step_cache import StepCacheConfig
from wan.synth.bench.measures import measure
from wan.synth.bench.pairs import make_pair
from wan.synth.bench.rows import BEST
from wan.synth.render import render_background, render_clip, visible_mask
from wan.utils.kept import Kept
from wan.utils.progress import Progress

from . import common, growth
from .peak import Peak
from .plain_edit import Plain, transformer_of, vae_of

MARKS = '<!-- benchmarks.edit -->', '<!-- end of benchmarks.edit -->'
STAGES = ('encode text', 'encode', 'capture the reference', 'edit', 'decode')
SHARE, CACHE = SparseConfig('share'), StepCacheConfig(.4)
CATALOGUE = 8


class Clock(Progress):
    r"""Seconds of each stage, also of the CPU, and its FLOPs.

    Args:
        flops: tells how many there were so far.
    """

    def __init__(self, flops: Callable[[], int] = lambda: 0):
        super().__init__()
        self.flops, self.cpu, self.work = flops, {}, {}

    @contextmanager
    def stage(self, name, total=1, device=None):
        cpu, work = time.process_time(), self.flops()
        with super().stage(name, total, device) as step:
            yield step
        self.cpu[name] = self.cpu.get(name, 0.) + time.process_time() - cpu
        self.work[name] = self.work.get(name, 0) + self.flops() - work


class Subject:
    r"""What is edited, and how.

    Args:
        pipe: the pipeline.
        number: of the pair.
        frames, size: of it.
        steps: of the whole schedule; None is the benchmark's.
    """

    def __init__(
        self, pipe: WanPVTT, number: int, frames: int,
        steps: int | None = None, size: int = 128,
    ):
        self.pipe = pipe
        self.pair = make_pair(number, size=size, frames=frames)
        pair, self.seed = self.pair, self.pair.seed
        self.clip, self.truth = render_clip(pair.clip), render_clip(pair.truth)
        self.regions = (visible_mask(pair.truth), visible_mask(pair.clip),
                        render_background(pair.clip))
        self.edit = replace(BEST.edit, composite=True)
        if steps is not None:
            self.edit = replace(self.edit, sample_steps=steps)
        vae = EMBEDDED / pipe.config.vae_checkpoint
        self.plain = Plain(transformer_of(pipe.model), vae_of(pipe.vae, vae),
                           pipe.model.text_len)

    @property
    def quick(self) -> 'Subject':
        r"""The same in few steps, where their number does not matter."""
        other = copy(self)
        other.edit = replace(self.edit, sample_steps=2)
        return other

    def measured(self, video: torch.Tensor) -> dict[str, float]:
        new, old, background = self.regions
        return measure(video, self.truth, self.clip, new, old, background)

    def editing(self, clock, kept, sparse, cache, number=None):
        r"""Our edit; with the product of another pair if there is a number."""
        pair = self.pair if number is None else make_pair(number)
        return self.pipe.editing(
            self.clip, [Product(pair.photo('right'))],
            self.pair.prompts('hidden')[0], pair.prompts('hidden')[1],
            self.edit, BEST.ref, self.regions[1], seed=self.seed,
            sparse=sparse, step_cache=cache, kept=kept, progress=clock)

    def ours(self, sparse, cache, clock) -> torch.Tensor:
        (_, result), = self.pipe.together([
            self.editing(clock, Kept(), sparse, cache)])
        if isinstance(result, Exception):
            raise result
        return result.video

    def catalogue(self, clock, count: int) -> torch.Tensor:
        r"""The first of several products in the template, all at once."""
        kept = Kept(('latent', 'text.source', 'text.null'))
        found = dict(self.pipe.together([
            self.editing(clock, kept, SHARE, StepCacheConfig(), number)
            for number in (None, *range(1, count))]))
        for result in found.values():
            if isinstance(result, Exception):
                raise result
        return found[0].video

    @torch.no_grad()
    def diffusers(self, clock) -> torch.Tensor:
        r"""The same with the plain loop, without the photo's bank."""
        plain, edit = self.plain, self.edit
        texts = self.pipe.encode_text(dict(zip(
            ('source', 'target'), self.pair.prompts('hidden'),
            strict=True)), False, clock)
        photo = Product(self.pair.photo('right')).fitted(self.clip.shape[:1:-1])
        pasted, alpha = collage(self.clip, self.regions[1], *photo)
        with clock.stage('encode'):
            latent, goal = map(plain.encode, (self.clip, pasted))
        region = Region.given(
            self.regions[1], latent[0].shape, edit.mask_grow).joined(
                alpha).to(latent.device)
        generator = torch.Generator().manual_seed(self.seed)
        sigmas = edit.sigmas.tolist()
        noises = (torch.randn(latent.shape, generator=generator)
                  .to(latent) for _ in sigmas)
        with clock.stage('edit'):
            out = plain.flowalign(
                latent, texts, sigmas, noises, edit.sample_guide_scale,
                edit.zeta(region.cells, True),
                torch.lerp(latent, goal, region.cells))
        with clock.stage('decode'):
            video = plain.decode(out).cpu()
        return composite(video, self.clip, region.pixels(self.clip.shape[1:]))

    @property
    def runs(self) -> dict[str, tuple[Callable[[Clock], torch.Tensor], int]]:
        r"""For each row how it is run, and how many products that makes."""
        return {
            'diffusers, plain loop': (self.diffusers, 1),
            'ours, full': (partial(
                self.ours, DENSE, StepCacheConfig()), 1),
            'sparse': (partial(self.ours, SHARE, StepCacheConfig()), 1),
            f'sparse, step cache {CACHE.step_cache:g}': (
                partial(self.ours, SHARE, CACHE), 1),
            f'sparse, one of {CATALOGUE} at once': (
                partial(self.catalogue, count=CATALOGUE), CATALOGUE)}


@dataclass
class Found:
    r"""What was measured of a row, each product's share."""
    wall: list[dict[str, float]] = field(default_factory=list)
    cpu: list[dict[str, float]] = field(default_factory=list)
    work: dict[str, float] = field(default_factory=dict)
    peak: float = 0.
    quality: dict[str, float] = field(default_factory=dict)


def counted(run) -> Clock:
    r"""A run's clock with its FLOPs, attention as plain products."""
    with sdpa_kernel(SDPBackend.MATH), \
            FlopCounterMode(display=False) as counter:
        clock = Clock(counter.get_total_flops)
        run(clock)
    return clock


def measured(subject: Subject, rounds: int) -> dict[str, Found]:
    r"""All rows, in turns."""
    found = {}
    for name, (run, count) in subject.runs.items():
        one = found[name] = Found()
        one.work = {stage: work / count
                    for stage, work in counted(run).work.items()}
        with Peak() as peak:
            subject.quick.runs[name][0](Clock())
        one.peak = peak.most / 1e6
    for _ in range(rounds):
        for name, (run, count) in subject.runs.items():
            clock = Clock()
            video = run(clock)
            found[name].quality = subject.measured(video)
            for kept, told in ((found[name].wall, clock.seconds),
                               (found[name].cpu, clock.cpu)):
                kept.append({stage: told.get(stage, 0.) / count
                             for stage in STAGES})
    return found


def _total(runs: list[dict[str, float]], stages=STAGES) -> float:
    return median(sum(run[stage] for stage in stages) for run in runs)


def stage_rows(found: dict[str, Found]) -> Iterator[list[str]]:
    r"""CPU seconds of each stage."""
    for name, one in found.items():
        yield [name, *(f'{_total(one.cpu, (stage,)):.2f}'
                       for stage in STAGES)]


def summary(found: dict[str, Found]) -> Iterator[list[str]]:
    r"""Each row over that of the plain loop and over our full edit."""
    plain, full, *_ = found.values()
    for name, one in found.items():
        work = sum(one.work.values())
        yield [
            name, f'{_total(one.wall):.1f}', f'{_total(one.cpu):.1f}',
            f'{_total(one.cpu) / _total(plain.cpu):.0%}',
            f'{_total(one.wall, ("edit",)) / _total(full.wall, ("edit",)):.0%}',
            f'{_total(one.cpu, ("edit",)) / _total(full.cpu, ("edit",)):.0%}',
            f'{work / 1e9:.0f}', f'{work / sum(full.work.values()):.0%}',
            f'{one.work["edit"] / full.work["edit"]:.0%}',
            f'{one.peak:.0f}', f'{one.quality["product_error"]:.4f}',
            f'{one.quality["background_psnr"]:.2f}']


def further(subject: Subject, most: int = 4) -> Iterator[list[str]]:
    r"""FLOPs of the edit stage by the number of products at once."""
    subject, steps = subject.quick, len(subject.edit.sigmas) - 1
    steps /= len(subject.edit.sigmas) - 1
    whole = counted(partial(
        subject.ours, DENSE, StepCacheConfig())).work['edit']
    before = 0.
    for count in range(1, most + 1):
        work = counted(partial(subject.catalogue, count=count)).work['edit']
        yield [str(count), f'{steps * work / 1e9:.0f}', f'{work / whole:.0%}',
               f'{(work - before) / whole:.0%}']
        before = work


def report(args) -> str:
    r"""The tables, and what they were made of."""
    device = torch.device(args.device)
    pipe = WanPVTT(WAN_CONFIGS[EMBEDDED_CONFIG], EMBEDDED, runtime=Runtime(
        device=args.device, dtype='float32'))
    subject = Subject(pipe, args.pair, args.frames, args.steps)
    found = measured(subject, args.rounds)
    frames, height, width = subject.clip.shape[1:]
    share = subject.regions[1].mean()
    return '\n'.join([
        f'Measured on {common.machine(device)}, medians of {args.rounds} '
        f'rounds: pair {args.pair}, {frames} frames of {width}x{height}, '
        f'{len(subject.edit.sigmas) - 1} steps, float32; the old product '
        f'takes {share:.0%} of the pixels. Of several products each has its '
        f'share.', '', common.table(
            ['a whole edit', 'wall s', 'CPU s', 'CPU to diffusers',
             'edit stage, wall', 'CPU', 'GFLOP', 'FLOPs to full',
             'edit stage', 'peak MB', 'product error', 'background PSNR'],
            summary(found)), '',
        'CPU seconds of each stage:', '', common.table(
            ['', *STAGES], stage_rows(found)), '',
        'FLOPs of the edit stage, counted, by the number of products at '
        'once:', '', common.table(
            ['products', 'GFLOP', 'of one full edit', 'the last one adds'],
            further(subject)), '',
        'How a step grows: cost ~ size to the power of the exponent, FLOPs '
        'counted, time measured:', '', common.table(
            ['a step with more', 'sizes', 'FLOPs', 'time'],
            growth.rows(pipe, args.rounds))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--pair', type=int, default=0)
    parser.add_argument('--frames', type=int, default=17)
    parser.add_argument('--steps', type=int,
                        help="of the schedule (default: the benchmark's)")
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--write', type=Path, help='page to write to')
    args = parser.parse_args()
    text = report(args)
    print(text)
    if args.write:
        common.write(args.write, text, MARKS)


if __name__ == '__main__':
    main()
