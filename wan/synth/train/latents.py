r"""What the transformer is trained on: latents of clips, images and photos."""
import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor

from wan.configs import WAN_CONFIGS
from wan.modules.vae import WanVAE
from wan.utils.progress import progress
from wan.utils.record import atomic_write

from .. import TRAIN_SEEDS
from .world import WORLDS, World

log = logging.getLogger(__name__)

NAMES = 'image', 'photo', 'video'
SHARD = 250
# Pixels of a token's side, and cells that its layout has there.
PATCH, CELLS = 16, 4


class Kind(NamedTuple):
    r"""A sort of training sample.

    Args:
        count: how many there are.
        pixels: number -> [3, T, H, W] in [-1, 1].
        caption: number and random generator -> a caption of it.
        shares: number -> [3, T of the latent, H, W] in [0, 1], see `World`.
    """
    count: int
    pixels: Callable[[int], Tensor]
    caption: Callable[[int, Random], str]
    shares: Callable[[int], Tensor]


def kinds(world: World) -> dict[str, Kind]:
    r"""By their names, which are `NAMES`."""

    def video(number):
        return world.sample(TRAIN_SEEDS[100_000 + number], frames=17)

    def image(number):
        return world.sample(TRAIN_SEEDS[1_000_000 + number], frames=1)

    def photo(number):
        return world.photo(Random(f'photo {number}'))

    return {
        'image': Kind(
            24000, lambda i: world.render(image(i)),
            lambda i, rng: world.some_caption(image(i), rng),
            lambda i: world.shares(image(i))),
        'photo': Kind(
            6000, lambda i: world.photo_pixels(photo(i), bool(i % 2)),
            lambda i, rng: world.photo_caption(photo(i), rng),
            lambda i: world.photo_shares(*photo(i))),
        'video': Kind(
            15000, lambda i: world.render(video(i)),
            lambda i, rng: world.some_caption(video(i), rng),
            lambda i: world.shares(replace(video(i), frames=5))),
    }


def tokens_of(shares: Tensor) -> Tensor:
    r"""[3, T, H, W] in [0, 1] as uint8 for each token, [T * H/16 * W/16, 48].

    A token is 16 pixels wide, of which each 4 x 4 are averaged.
    """
    fine = F.avg_pool2d(shares, PATCH // CELLS)
    return rearrange(
        (255 * fine).round().byte(), 'c t (h a) (w b) -> (t h w) (a b c)',
        a=CELLS, b=CELLS)


def encode_latents(
    folder: Path, out: Path, minutes: float | None = None,
    device: str = 'cpu', world: World = WORLDS['flat'], workers: int = 2,
) -> bool:
    r"""Write shards of latents, those that are missing; can be stopped.

    Args:
        folder: of the shards, float16 [SHARD, 16, T, h, w] each.
        out: the checkpoint folder, which has the VAE.
        minutes: stop after so long, to be resumed.
        device: of the VAE.
        workers: processes, one on a GPU.

    Returns:
        Whether all are there.
    """
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    known = next(k for k, v in WORLDS.items() if v is world)
    jobs = [
        (str(out), str(shard_path(folder, name, start)), name, start, device,
         known)
        for start, name in _order(world)
        if not shard_path(folder, name, start).is_file()]
    if device != 'cpu':
        workers = 1
    with get_context('spawn').Pool(workers) as pool, \
            progress(len(jobs), 'latents') as bar:
        for done in pool.imap_unordered(_write_shard, jobs):
            log.debug('%s', done)
            bar.update()
            if minutes and time.monotonic() - started > 60 * minutes:
                return False
    return True


def _order(world: World) -> list[tuple[int, str]]:
    r"""First sample and kind of all shards, so that a run that was stopped has
    the same share of every kind."""
    return [(start, name) for _, start, name in sorted(
        (start / kind.count, start, name)
        for name, kind in kinds(world).items()
        for start in range(0, kind.count, SHARD))]


def shard_path(folder: Path, name: str, start: int) -> Path:
    return folder / f'{name}-{start:06d}.safetensors'


def shards(folder: Path, name: str) -> list[Path]:
    r"""The files of a kind's latents, up to the first gap.

    A stopped run may leave one, and what a sample shows goes by its number.

    Raises:
        ValueError: there are none.
    """
    files = list(itertools.takewhile(Path.is_file, (
        shard_path(folder, name, start)
        for start in itertools.count(step=SHARD))))
    if not files:
        raise ValueError(
            f'No latents of kind {name} in {folder}: run the latents stage '
            f'first.')
    return files


@torch.no_grad()
def _write_shard(job: tuple[str, str, str, int, str, str]) -> str:
    out, path, name, start, device, world = job
    torch.set_num_threads(1)
    vae = WanVAE(
        vae_pth=Path(out) / WAN_CONFIGS['t2v-tiny'].vae_checkpoint,
        dtype=torch.bfloat16, device=device)
    kind = kinds(WORLDS[world])[name]
    numbers = range(start, min(start + SHARD, kind.count))
    latents = torch.stack([
        vae.encode([kind.pixels(i).to(device)])[0].cpu() for i in numbers])
    with atomic_write(path) as temporary:
        save_file({'latents': latents.half()}, temporary)
    return path


class Latents:
    r"""The samples of one kind: number -> latent and a caption of it."""

    def __init__(
        self, folder: Path, name: str, world: World = WORLDS['flat']
    ):
        self.kind = kinds(world)[name]
        self.latents = torch.cat([
            load_file(file)['latents'] for file in shards(folder, name)])
        file = folder / f'layout-{name}.safetensors'
        layouts = load_file(file)['layouts'] if file.is_file() else ()
        if len(layouts) < len(self.latents):
            layouts = torch.stack([
                tokens_of(self.kind.shares(i))
                for i in progress(range(len(self.latents)), f'{name} layouts')])
            with atomic_write(file) as temporary:
                save_file({'layouts': layouts}, temporary)
        self.layouts = layouts

    def batch(
        self, count: int, rng: Random
    ) -> tuple[Tensor, Tensor, list[str]]:
        r"""Random samples: latents [count, 16, T, h, w], layouts
        [count, tokens, 48] in [0, 1] and captions."""
        numbers = [rng.randrange(len(self.latents)) for _ in range(count)]
        return (self.latents[numbers].float(), self.layouts[numbers] / 255,
                [self.kind.caption(i, rng) for i in numbers])
