r"""How the cost of an editing step grows: exponents, fitted."""
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from wan.conditioning import Condition
from wan.modules.backends import attention
from wan.modules.model import WanModel
from wan.pvtt import WanPVTT
from wan.velocity import Denoiser

from . import common, sparse

FRAMES, SIDES, SHARES = (9, 17, 33), (128, 192, 256), (.1, .25, .5)


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    r"""The slope of log cost over log size by least squares."""
    x, y = ([math.log(value) for value in values] for values in (sizes, costs))
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / \
        sum((a - mx)**2 for a in x)


def step(
    denoiser: Denoiser, device: torch.device, frames: int, side: int,
    share: float = 1.,
) -> Callable[[], object]:
    r"""A step of FlowAlign on noise, its edit on a share of the tokens."""
    shape = (denoiser.model.in_dim, (frames - 1) // 4 + 1, side // 8, side // 8)
    latent, text = (torch.randn(*s, device=device) for s in (
        shape, (20, denoiser.model.text_dim)))
    condition = Condition(denoiser.model.project_text([text]))
    latents = {name: latent.clone() for name in sparse.BRANCHES}
    return partial(
        sparse.step(denoiser, condition, latent[0].numel() // 4, share,
                    device), latents, denoiser.timestep(sparse.SIGMA))


def counted(run: Callable[[], object]) -> int:
    r"""FLOPs of a call."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@torch.no_grad()
def rows(pipe: WanPVTT, rounds: int) -> Iterator[list[str]]:
    r"""For frames, area and the product's share: exponents of FLOPs and time.

    Of the share, those of the edit's part: what a step costs beyond the
    template's evaluation.
    """
    real = pipe.denoiser
    real.model.to(pipe.device)
    with torch.device('meta'):
        empty = Denoiser(
            WanModel(**{name: getattr(real.model, name) for name in (
                'text_len', 'in_dim', 'out_dim', 'dim', 'ffn_dim', 'freq_dim',
                'text_dim', 'num_heads', 'num_layers')}),
            attend=partial(attention, backend='matmul'))
    for name, sizes, settings in (
        ('frames', FRAMES, [(n, SIDES[0]) for n in FRAMES]),
        ('area', [side**2 for side in SIDES],
         [(FRAMES[1], side) for side in SIDES]),
        ("the product's share", SHARES,
         [(FRAMES[1], SIDES[1], share) for share in (*SHARES, 1e-9)]),
    ):
        work = [counted(step(empty, torch.device('meta'), *given))
                for given in settings]
        times = common.alternate(
            [step(real, pipe.device, *given) for given in settings], rounds,
            pipe.device)
        if len(settings) > len(sizes):  # the last one has no edit
            work, times = ([value - values[-1] for value in values[:-1]]
                           for values in (work, times))
        yield [name, ', '.join(f'{size:g}' for size in sizes),
               f'{exponent(sizes, work):.2f}',
               # A difference of times may be lost in noise.
               f'{exponent(sizes, times):.2f}' if min(times) > 0 else '?']
