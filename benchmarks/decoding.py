r"""What the end of an edit took, and takes: the embedded VAE on a CPU.

    python -m benchmarks.decoding                   # < 1 minute

Every way decodes the same latents, taking turns, and is held against float32
pixel by pixel. "template too" is what measuring the ceiling costs, which
every edit did before `--measure_ceiling` was off. Tiles on threads are
computed here only, to see what they would bring. CPU seconds are those of all
threads: other programs slow them less than wall time.
"""
import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median

import torch

from wan.configs import WAN_CONFIGS
from wan.jobs.checkpoint import EMBEDDED, EMBEDDED_CONFIG
from wan.modules.tiling import tiles
from wan.modules.vae import WanVAE
from wan.synth.bench.pairs import make_pair
from wan.synth.render import render_clip
from wan.utils.metrics import psnr

from . import common

TILE = (10, 2)


def load(**more) -> WanVAE:
    return WanVAE(
        vae_pth=EMBEDDED / WAN_CONFIGS[EMBEDDED_CONFIG].vae_checkpoint,
        device='cpu', **more)


def on_threads(vae: WanVAE, z: torch.Tensor, threads: int) -> torch.Tensor:
    r"""Decode each tile in a thread of its own, and add them up."""
    time_stride, space = vae.model.stride
    out = z.new_zeros(3, 1 + time_stride * (z.shape[1] - 1),
                      space * z.shape[2], space * z.shape[3])

    def decoded(tile):
        with torch.no_grad():
            return tile, torch.cat([vae.model.decoded(
                z[None, :, t:t + 1][tile.area()], vae.scale, tile, out)
                for t in range(z.shape[1])], 2)[0]

    with ThreadPoolExecutor(threads) as pool:
        for tile, video in pool.map(decoded, tiles(*z.shape[2:], TILE)):
            out[tile.area(space)] += video
    return out.clamp_(-1, 1)


def measured(
    functions: dict[str, Callable], rounds: int
) -> dict[str, tuple[float, float]]:
    r"""Median wall and CPU seconds of each, taking turns."""
    runs: dict[str, list] = {name: [] for name in functions}
    for i in range(rounds + 1):
        for name, fn in functions.items():
            start = time.perf_counter(), time.process_time()
            fn()
            if i:  # the first is to warm up
                runs[name].append((time.perf_counter() - start[0],
                                   time.process_time() - start[1]))
    return {name: tuple(map(median, zip(*times, strict=True)))
            for name, times in runs.items()}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=3)
    args = parser.parse_args()
    print(f'The embedded VAE, 17 frames of 128 x 128; '
          f'{common.machine(torch.device("cpu"))}')
    vae, half = load(), load(dtype=torch.bfloat16)
    clip = render_clip(make_pair(0).clip)
    z = vae.encode([clip])[0]
    tiled = load(tiling=True)
    tiled.tile = TILE
    ways = {
        'float32, template too': lambda: vae.decode([z, z])[0],
        'float32': lambda: vae.decode([z])[0],
        'bfloat16': lambda: half.decode([z])[0],
        'float32, tiles': lambda: tiled.decode([z])[0],
        'float32, tiles on 2 threads': partial(on_threads, vae, z, 2)}
    full, times = vae.decode([z])[0], measured(ways, args.rounds)
    first = times['float32, template too']
    common.print_table(
        ['decode', 'ms', 'CPU ms', 'CPU speed', 'PSNR to float32',
         'PSNR to the clip'],
        [[name, f'{wall * 1e3:.0f}', f'{cpu * 1e3:.0f}',
          f'{first[1] / cpu:.2f}x', f'{psnr(ways[name](), full):.1f}',
          f'{psnr(ways[name](), clip):.2f}']
         for name, (wall, cpu) in times.items()])


if __name__ == '__main__':
    main()
