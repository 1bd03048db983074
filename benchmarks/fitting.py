r"""What fitting a card costs: 8-bit weights, streamed blocks, torch.compile.

    python -m benchmarks.fitting                    # a CPU, < 1 minute
    python -m benchmarks.fitting --pairs 6          # edits too, some minutes
    python -m benchmarks.fitting --compile          # the speed of a program
    python -m benchmarks.fitting --device cuda      # streamed blocks too

All with the embedded model: each setting's latent of one seeded run beside
that of full precision, its weights, and, with --pairs, what the benchmark of
wan.synth measures of its edits.
"""
import argparse
from collections.abc import Iterator
from functools import partial
from statistics import mean

import torch

from wan.configs import WAN_CONFIGS
from wan.jobs.checkpoint import EMBEDDED, EMBEDDED_CONFIG
from wan.modules.streaming import compile_blocks, parts
from wan.pvtt import WanPVTT
from wan.runtime import Runtime
from wan.synth.bench.edit import PairEditor
from wan.synth.bench.pairs import make_pair
from wan.synth.bench.rows import BEST
from wan.utils.metrics import psnr
from wan.utils.progress import Progress

from . import common

PROMPTS = {'cond': 'a red vase on a table', 'uncond': ''}
SETTINGS = {
    'full': {}, 'int8': {'quantize': 'int8'}, 'fp8': {'quantize': 'fp8'},
    'VAE bf16': {'vae_dtype': 'bfloat16'}}
STREAMED = {
    'streamed': {'offload_blocks': True},
    'streamed int8': {'offload_blocks': True, 'quantize': 'int8'}}


def load(device: str, **settings) -> WanPVTT:
    return WanPVTT(WAN_CONFIGS[EMBEDDED_CONFIG], EMBEDDED, runtime=Runtime(
        device=device, **settings))


def weights(pipe: WanPVTT) -> int:
    r"""Bytes of the transformer's."""
    return sum(part.nbytes for weight in pipe.model.parameters()
               for part in parts(weight))


def latent(pipe: WanPVTT, steps: int = 10) -> torch.Tensor:
    r"""Of a seeded run of text to video."""
    noise = torch.randn(
        16, 5, 16, 16, generator=torch.Generator().manual_seed(0))
    texts = pipe.encode_text(PROMPTS, True, Progress())
    return pipe.sample(texts, 4., noise.to(pipe.device), 'unipc', steps, 5.,
                       True, Progress()).cpu()


def rms(x: torch.Tensor) -> float:
    return float(x.square().mean().sqrt())


def edits(pipe: WanPVTT, pairs: int) -> Iterator[tuple[dict, torch.Tensor]]:
    r"""What is measured of the best recipe's edits, and the edits."""
    for number in range(pairs):
        editor = PairEditor(lambda: pipe, make_pair(number))
        video = editor.run(BEST, 'right')
        yield editor.measure(video), video


def rows(args) -> Iterator[list[str]]:
    settings = SETTINGS | (STREAMED if args.device == 'cuda' else {})
    full = shown = None
    for name, given in settings.items():
        pipe = load(args.device, **given)
        got = latent(pipe)
        full = got if full is None else full
        row = [name, f'{weights(pipe) / 1e6:.1f}',
               f'{rms(got - full) / rms(full):.2%}']
        if args.pairs:
            found, videos = zip(*edits(pipe, args.pairs), strict=True)
            shown = shown or videos
            row += [f'{mean(m["product_error"] for m in found):.4f}',
                    f'{mean(m["background_psnr"] for m in found):.2f}',
                    f'{mean(map(psnr, videos, shown)):.1f}']
        yield row


@torch.no_grad()
def compiled(args) -> list[list[str]]:
    r"""A forward without and with torch.compile, taking turns."""
    pipes = [load(args.device) for _ in range(2)]
    compile_blocks(pipes[1].model)
    runs = []
    for pipe in pipes:
        pipe.model.to(pipe.device)
        texts = [torch.randn(20, pipe.model.text_dim, device=pipe.device)]
        runs.append(partial(
            pipe.model, [torch.zeros(16, 5, 32, 32, device=pipe.device)],
            t=torch.full((1,), 500., device=pipe.device),
            context=pipe.model.project_text(texts), seq_len=10**6,
            attend=pipe.runtime.attend))
    device = torch.device(args.device)
    first = common.seconds(runs[1], device)
    times = common.alternate(runs, 5, device)
    return [[name, f'{s * 1e3:.0f}', f'{times[0] / s:.2f}x', took]
            for name, s, took in zip(('eager', 'compiled'), times,
                                     ('', f'{first:.0f}'), strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--pairs', type=int, default=0,
                        help='edits of the benchmark')
    parser.add_argument('--compile', action='store_true')
    args = parser.parse_args()
    print(f'The embedded model; {common.machine(torch.device(args.device))}')
    if args.compile:
        common.print_table(
            ['one forward', 'ms', 'speed', 'first s'], compiled(args))
        return
    common.print_table(
        ['', 'MB of weights', 'latent off by', *(
            ['product error', 'background PSNR', 'PSNR to full']
            if args.pairs else [])], rows(args))


if __name__ == '__main__':
    main()
