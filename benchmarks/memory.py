r"""What `--dry_run` predicts, beside the tensors that are seen alive.

    python -m benchmarks.memory              # < 1 minute on a CPU
    python -m benchmarks.memory --device cuda

Networks of full size run on the meta device, which computes nothing and has
the same tensors. What a kernel needs within itself and an allocator keeps in
reserve is in neither number. `--device cuda` asks CUDA's allocator instead.
"""
import argparse
from functools import partial
from typing import NamedTuple

import torch

from wan.jobs.memory import (
    DECODING,
    ENCODING,
    SUMMED,
    activations,
    decoding_bytes,
)
from wan.modules.attention import attention
from wan.modules.model import WanModel
from wan.modules.vae import OFFICIAL, WanVAE_
from wan.modules.vae_layers import channels_last

from . import common
from .peak import peak_bytes

FP32, BF16 = torch.float32, torch.bfloat16


class Forward(NamedTuple):
    r"""A forward of blocks of a width, for samples of latents [T, h, w]."""
    device: str
    dim: int
    ffn_dim: int
    latent: tuple[int, int, int]
    dtype: torch.dtype
    batch: int = 1

    def __str__(self) -> str:
        t, h, w = self.latent
        return (f'width {self.dim}, {self.batch} x {t}x{h}x{w}, '
                f'{str(self.dtype)[6:]}, {self.device}')

    @property
    def predicted(self) -> int:
        tokens = self.batch * self.latent[0] * self.latent[1] * \
            self.latent[2] // 4
        return tokens * activations(
            self.dim, self.ffn_dim, self.dtype.itemsize)

    def measured(self) -> int:
        with torch.device(self.device):
            model = WanModel(
                dim=self.dim, ffn_dim=self.ffn_dim, text_dim=64, num_layers=2,
                num_heads=self.dim // 128)
        fp32 = set(model._keep_in_fp32_modules)
        for name, p in model.named_parameters():
            if not fp32 & set(name.split('.')):
                p.data = p.data.to(self.dtype)
        model.eval().requires_grad_(False)
        model.freqs = model.freqs.to(self.device)

        def empty(*shape, **more):
            return torch.zeros(*shape, device=self.device, **more)

        with torch.no_grad():
            text = model.project_text(
                [empty(100, 64, dtype=self.dtype)] * self.batch)
        return _peak(partial(
            model, [empty(16, *self.latent) for _ in range(self.batch)],
            t=empty(self.batch), context=text, seq_len=10**6,
            attend=_unseen if self.device == 'meta' else attention),
            self.device)


class Coding(NamedTuple):
    r"""A VAE of a width at work, on a latent [T, h, w]."""
    device: str
    way: str
    dim: int
    latent: tuple[int, int, int]
    dtype: torch.dtype
    tile: tuple[int, int] | None = None

    def __str__(self) -> str:
        t, h, w = self.latent
        return (f'{self.way}, width {self.dim}, {4 * t - 3}x{8 * h}x{8 * w}'
                f'{", tiles" if self.tile else ""}, {str(self.dtype)[6:]}, '
                f'{self.device}')

    @property
    def predicted(self) -> int:
        t, h, w = self.latent
        decodes = self.way == 'decode'
        found = decoding_bytes(
            self.dim, (8 * w, 8 * h), 4 * t - 3, self.dtype.itemsize,
            self.tile is not None, (DECODING if decodes else ENCODING) +
            SUMMED * (self.device == 'cpu' and self.dtype == FP32))
        # Encoding is given the video: it is there before.
        return found if decodes else found - 12 * (4 * t - 3) * 64 * h * w

    def measured(self) -> int:
        with torch.device(self.device):
            model = WanVAE_(**OFFICIAL | {'dim': self.dim, 'z_dim': 16})
        model = channels_last(
            model.to(self.dtype).eval().requires_grad_(False))
        t, h, w = self.latent
        x = torch.zeros(1, 16, *self.latent, device=self.device) \
            if self.way == 'decode' else torch.zeros(
                1, 3, 4 * t - 3, 8 * h, 8 * w, device=self.device)
        scale = torch.zeros(16), torch.ones(16)
        scale = [s.to(self.device) for s in scale]
        return _peak(partial(
            getattr(model, self.way), x, scale, tile=self.tile), self.device)


def _unseen(q, k, v, *args, **more):
    r"""Attention as FlashAttention has it in memory: its result alone."""
    return torch.empty_like(q)


def _peak(fn, device: str) -> int:
    if device != 'cuda':
        return peak_bytes(fn)
    with torch.no_grad():
        return int(common.peak_memory_of(fn, torch.device(device)) * 1e6)


TILE = (48, 8)


def cases(device: str) -> list:
    r"""Small ones computed on the device, full ones where they fit."""
    full = 'cuda' if device == 'cuda' else 'meta'
    return [
        *([] if device == 'cuda' else [
            Forward('cpu', 256, 1024, (5, 32, 32), FP32),
            Forward('cpu', 512, 2048, (3, 24, 40), BF16),
            Forward('cpu', 1536, 8960, (2, 16, 24), FP32),
            Coding('cpu', 'decode', 16, (2, 16, 16), FP32),
            Coding('cpu', 'decode', 24, (2, 12, 16), BF16),
            Coding('cpu', 'encode', 16, (3, 16, 16), FP32),
            Coding('cpu', 'encode', 24, (3, 12, 16), BF16)]),
        Forward(full, 1536, 8960, (21, 60, 104), BF16),
        Forward(full, 1536, 8960, (21, 60, 104), BF16, 3),
        Forward(full, 5120, 13824, (21, 60, 104), BF16),
        Forward(full, 5120, 13824, (21, 90, 160), BF16),
        Coding(full, 'decode', 96, (5, 60, 104), FP32),
        Coding(full, 'decode', 96, (5, 90, 160), BF16),
        Coding(full, 'decode', 96, (5, 60, 104), BF16, TILE),
        Coding(full, 'encode', 96, (5, 60, 104), FP32),
        Coding(full, 'encode', 96, (5, 90, 160), FP32, TILE),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    device = parser.parse_args().device
    print(f'MiB beyond the weights; {common.machine(torch.device(device))}')
    rows = []
    for case in cases(device):
        try:
            measured = case.measured()
        except torch.OutOfMemoryError:
            rows.append([case, 'does not fit',
                         f'{case.predicted / 2**20:.1f}', ''])
            continue
        rows.append([case, f'{measured / 2**20:.1f}',
                     f'{case.predicted / 2**20:.1f}',
                     f'{case.predicted / measured - 1:+.0%}'])
    common.print_table(['', 'measured', 'predicted', 'off by'], rows)


if __name__ == '__main__':
    main()
