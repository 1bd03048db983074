r"""What an edit will take on a GPU, from its FLOPs. Nothing is run.

    python -m benchmarks.predicted

Counted are the transformer's matrix products and attentions and the VAE's
convolutions. Predicted seconds assume that a GPU reaches a share of its dense
bf16 rate throughout; what text encoding, loading and moving weights take is
not in them.
"""
from collections.abc import Iterator

import torch
from torch.utils.flop_counter import FlopCounterMode

from wan.configs import WAN_CONFIGS
from wan.modules.vae import OFFICIAL, WanVAE_

from . import common, dit

# FLOP/s in bf16 with float32 sums, dense, by the vendors' sheets.
RATES = {'H100': 989e12, 'H200': 989e12, 'RTX 4090': 165e12, 'A100': 312e12}
SHOWN = ('H100', 'H200', 'RTX 4090')
SHARES = (.4, .6)
# Steps of the default edit: 50, of which the first 15 are skipped.
STEPS, BRANCHES = 35, 3
# The part of the tokens that the product takes, in a sparse edit.
PRODUCT = .25
SIZES = {'832*480': (480, 832), '1280*720': (720, 1280)}
MODELS = {'1.3B': 't2v-1.3B', '14B': 't2v-14B'}


def tokens(height: int, width: int, frames: int = 81) -> int:
    r"""Of the transformer."""
    return ((frames - 1) // 4 + 1) * (height // 16) * (width // 16)


def forward(model: str, height: int, width: int, frames: int = 81) -> float:
    r"""FLOPs of one evaluation."""
    return dit.flops(WAN_CONFIGS[model], tokens(height, width, frames))


def evaluations(product: float | None = None) -> float:
    r"""Of a step, in whole ones: with the part of the tokens that the product
    takes, two branches compute that part only."""
    return BRANCHES if product is None else 1 + (BRANCHES - 1) * product


def vae_flops(way: str, height: int, width: int, frames: int = 81) -> float:
    r"""Of encoding or decoding, from a few frames on the meta device.

    Every latent frame behind the second costs the same, every pixel too.
    """
    h, w = 8, 8
    with torch.device('meta'):
        model = WanVAE_(**OFFICIAL | {'z_dim': 16})
    counted = []
    for t in (2, 3):
        x = torch.empty(1, 16, t, h, w, device='meta') if way == 'decode' \
            else torch.empty(1, 3, 4 * t - 3, 8 * h, 8 * w, device='meta')
        scale = [torch.empty(16, device='meta')] * 2
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            getattr(model, way)(x, scale)
        counted.append(counter.get_total_flops())
    more = (frames - 1) // 4 - 1
    return (counted[0] + more * (counted[1] - counted[0])) * \
        height * width / (64 * h * w)


def rows() -> Iterator[list[str]]:
    r"""Of edits of 81 frames: model, size, conduct, PFLOP, seconds."""
    for name, model in MODELS.items():
        for size, (height, width) in SIZES.items():
            one = forward(model, height, width)
            vae = vae_flops('encode', height, width) + \
                vae_flops('decode', height, width)
            for conduct, product in (('full', None), ('sparse', PRODUCT)):
                work = STEPS * evaluations(product) * one + vae
                yield [
                    f'{name}, {size}, {conduct}', f'{one / 1e12:.0f}',
                    f'{STEPS * evaluations(product):g}', f'{vae / 1e15:.2f}',
                    f'{work / 1e15:.1f}',
                    *(' - '.join(f'{work / RATES[gpu] / share:.0f}'
                                 for share in reversed(SHARES))
                      for gpu in SHOWN)]


def further() -> Iterator[list[str]]:
    r"""Of products that run together: a whole edit, and each further one.

    The source is evaluated with the first; a further one evaluates its own
    branches, and has its own collage encoded and its own result decoded.
    """
    for name, model in MODELS.items():
        for size, (height, width) in SIZES.items():
            one = STEPS * forward(model, height, width)
            vae = vae_flops('encode', height, width) + \
                vae_flops('decode', height, width)
            full = BRANCHES * one + vae
            more = (evaluations(PRODUCT) - evaluations(0.)) * one + vae
            yield [f'{name}, {size}', f'{full / 1e15:.1f}',
                   f'{more / 1e15:.1f}', f'{more / full:.1%}']


def public() -> Iterator[list[str]]:
    r"""What others have published, and the rate that it would take."""
    for name, gpu, seconds, count, size, frames in (
        ('LightX2V, T2V-1.3B, 100 evaluations, 81 frames', 'H200', 58, 100,
         '832*480', 81),
        ('WANAlign2.1, 1.3B, 49 frames; if 105 evaluations', 'A100', 75,
         STEPS * BRANCHES, '832*480', 49),
    ):
        work = count * forward('t2v-1.3B', *SIZES[size], frames)
        yield [name, gpu, str(seconds), f'{work / 1e15:.1f}',
               f'{work / seconds / RATES[gpu]:.0%}']


def main() -> None:
    head = ['edit of 81 frames', 'TFLOP an evaluation', 'evaluations',
            'VAE PFLOP', 'PFLOP']
    common.print_table(
        [*head, *(f'{gpu}, s' for gpu in SHOWN)], rows())
    print()
    common.print_table(
        ['products at once', 'PFLOP of a full edit', 'of a further product',
         'share'], further())
    print()
    common.print_table(
        ['published', 'GPU', 'seconds', 'PFLOP', 'of the matrix rate'],
        public())


if __name__ == '__main__':
    main()
