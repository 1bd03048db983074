r"""Time a FlowAlign step whose edit is evaluated on some tokens only.

    python -m benchmarks.sparse                             # a CPU, < 1 minute
    python -m benchmarks.sparse --device cuda --dtype bf16 \
        --size 832*480 --frames 81 --layers_limit 30        # a GPU, in full

Random weights. The template's branch has all tokens in every row; the edit's
two have the share that is named. FLOPs are counted by torch on the meta device,
attention as plain products; a share s should cost (1 + 2 s) / 3 of all.
"""
from collections.abc import Callable
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from wan.conditioning import Condition
from wan.modules.backends import attention
from wan.modules.model import WanModel
from wan.sparse import lockstep
from wan.velocity import Denoiser, Velocity, velocity

from . import common, dit

BRANCHES = ('q', 'ps', 'pt')
EDITED = BRANCHES[1:]
SHARES = (1., .5, .25, .1)
SIGMA = .7


def step(
    denoiser: Denoiser,
    condition: Condition,
    tokens: int,
    share: float,
    device: torch.device,
) -> Velocity:
    r"""The velocities of a step; a share of 1 is the plain one."""
    conditions = dict.fromkeys(BRANCHES, condition)
    if share == 1:
        return velocity(denoiser, conditions)
    chosen = torch.arange(round(share * tokens), device=device)
    return lockstep(denoiser, conditions, dict.fromkeys(EDITED, chosen),
                    dict.fromkeys(EDITED, 'q'))


def steps(
    args, denoiser: Denoiser, device: torch.device
) -> list[Callable[[], object]]:
    r"""A step for each share."""
    width, height = map(int, args.size.split('*'))
    shape = (16, (args.frames - 1) // 4 + 1, height // 8, width // 8)
    latent, text = (
        torch.randn(*s, device=device)
        for s in (shape, (args.text_tokens, denoiser.model.text_dim)))
    tokens = latent[0].numel() // 4
    condition = Condition(denoiser.model.project_text([text]))
    # Copies, as one latent of two branches would be evaluated once.
    latents = {name: latent.clone() for name in BRANCHES}
    return [
        partial(step(denoiser, condition, tokens, share, device), latents,
                denoiser.timestep(SIGMA)) for share in SHARES]


def together(args, count: int, share: float) -> int:
    r"""FLOPs of a step of several edits of one source, on their tokens."""
    denoiser = Denoiser(dit.empty(args), attend=partial(
        attention, backend='matmul'))
    width, height = map(int, args.size.split('*'))
    shape = (16, (args.frames - 1) // 4 + 1, height // 8, width // 8)
    with torch.device('meta'):
        condition = Condition(denoiser.model.project_text(
            [torch.empty(args.text_tokens, denoiser.model.text_dim)]))
        latents = {'q': torch.empty(shape)} | {
            (name, i): torch.empty(shape)
            for name in EDITED for i in range(count)}
        tokens = round(share * latents['q'][0].numel() / 4)
        chosen = {key: torch.arange(tokens) for key in latents if key != 'q'}
        v = lockstep(denoiser, dict.fromkeys(latents, condition), chosen,
                     dict.fromkeys(chosen, 'q'))
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            v(latents, denoiser.timestep(SIGMA))
    return counter.get_total_flops()


def counted(args) -> list[int]:
    r"""FLOPs for each share."""
    work = []
    products = partial(attention, backend='matmul')
    for run in steps(args, Denoiser(dit.empty(args), attend=products),
                     torch.device('meta')):
        with FlopCounterMode(display=False) as counter:
            run()
        work.append(counter.get_total_flops())
    return work


def measure(args, model: WanModel, device: torch.device) -> list[list[str]]:
    r"""A row for each share."""
    denoiser = Denoiser(model, attend=dit.attend_by(args))
    times = common.alternate(
        steps(args, denoiser, device), args.rounds, device)
    work = counted(args)
    return [
        [f'{share:.0%}', f'{s * 1e3:.0f}', f'{flop / 1e12:.2f}',
         f'{s / times[0]:.0%}', f'{flop / work[0]:.0%}']
        for share, s, flop in zip(SHARES, times, work, strict=True)]


def main() -> None:
    args = dit.parse_args(__doc__)
    device = torch.device(args.device)
    print(f'{args.config}, {args.size}, {args.frames} frames, at most '
          f'{args.layers_limit} blocks; {common.machine(device)}')
    rows = []
    for name in args.dtype:
        with torch.no_grad():
            model = dit.build(args, dit.DTYPES[name], device)
            rows += [[f"the edit's tokens {row[0]}, {name}", *row[1:]]
                     for row in measure(args, model, device)]
    common.print_table(
        ['one step', 'ms', 'TFLOP', 'time', 'FLOPs'], rows)


if __name__ == '__main__':
    main()
