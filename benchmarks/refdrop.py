r"""Time a FlowAlign step with and without the product photo, random weights.

    python -m benchmarks.refdrop                            # a CPU, < 1 minute
    python -m benchmarks.refdrop --device cuda --dtype bf16 \
        --size 832*480 --frames 81 --layers_limit 30        # a GPU, in full

The photo has the tokens of one latent frame of T, so reading it adds about 1/T
of the self-attention in the branches that read, and nothing in the others.
With the masks on, as is the default, only the product's tokens read only the
product's keys: here a quarter of each. The first table is a step of three
evaluations, the second one self-attention and the slot that reads.
"""
from dataclasses import replace

import torch

from wan.conditioning import Condition
from wan.modules.model import WanModel, rotation_table
from wan.modules.rope import token_grid
from wan.refdrop.bank import Reference, capture
from wan.refdrop.config import RefConfig
from wan.refdrop.reading import Reader, reading_slots
from wan.velocity import Denoiser, velocity

from . import common, dit

BRANCHES = ('q', 'ps', 'pt')
SIGMA = .7


def measure_step(
    args,
    denoiser: Denoiser,
    reference: Reference,
    latent: torch.Tensor,
    condition: Condition,
) -> list[list[str]]:
    model, device = denoiser.model, latent.device
    grid = token_grid(latent.shape, model.patch_size)
    tokens, keys = grid[0] * grid[1] * grid[2], grid[1] * grid[2]
    t = denoiser.timestep(SIGMA)

    def quarter(n):
        return torch.arange(n, device=device) < n // 4

    def reader(reference, mask=None):
        return Reader(lambda sigma: (reference,), RefConfig(), {t: SIGMA},
                      grid, mask, attend=denoiser.attend)

    readers = {
        'without': None, 'with the photo': reader(reference),
        'with masks': reader(
            replace(reference, mask=quarter(keys)), quarter(tokens))}
    # Copies, as one latent of two branches would be evaluated once.
    latents = {name: latent.clone() for name in BRANCHES}
    steps = [
        velocity(denoiser, dict.fromkeys(BRANCHES, condition), slots)
        for slots in readers.values()]
    times = common.alternate(
        [lambda v=v: v(latents, t) for v in steps], args.rounds, device)
    plain = 3 * dit.flops(model, tokens)
    extra = 2 * model.num_layers * 4 * tokens * keys * model.dim
    work = [plain, plain + extra, plain + extra / 16]
    return [
        [name, f'{s * 1e3:.0f}', f'{flop / 1e12:.2f}',
         f'{s / times[0] - 1:+.1%}', f'{flop / plain - 1:+.1%}']
        for name, s, flop in zip(readers, times, work, strict=True)]


def measure_attention(
    args, denoiser: Denoiser, reference: Reference, latent: torch.Tensor
) -> list[list[str]]:
    model, device = denoiser.model, latent.device
    attn = model.blocks[0].self_attn
    grid = token_grid(latent.shape, model.patch_size)
    tokens = grid[0] * grid[1] * grid[2]
    x = torch.randn(1, tokens, model.dim, device=device)
    rotation = rotation_table((grid,), model.freqs, tokens, device)
    slot = reading_slots(
        (reference,), RefConfig(), (True,), grid, attend=denoiser.attend)[0]
    q = torch.randn(1, tokens, attn.num_heads, attn.head_dim, device=device)
    v = q.to(attn.q.weight.dtype)

    def whole():
        return attn(x, None, (grid,), rotation, attend=denoiser.attend)

    def read():
        return slot(q, q, v, v, v, v)

    times = common.alternate([whole, read], args.rounds, device)
    return [
        ['self-attention', f'{times[0] * 1e3:.1f}', ''],
        ['reading', f'{times[1] * 1e3:.1f}',
         f'{times[1] / times[0]:.1%} (1/T = {1 / grid[0]:.1%})']]


def measure(
    args, model: WanModel, device: torch.device
) -> tuple[list[list[str]], list[list[str]]]:
    r"""Rows of both tables."""
    width, height = map(int, args.size.split('*'))
    shape = (16, (args.frames - 1) // 4 + 1, height // 8, width // 8)
    latent, text = (
        torch.randn(*s, device=device)
        for s in (shape, (args.text_tokens, model.text_dim)))
    denoiser = Denoiser(model, attend=dit.attend_by(args))
    condition = Condition(model.project_text([text]))
    reference = capture(denoiser, latent[:, :1], condition)
    return (
        measure_step(args, denoiser, reference, latent, condition),
        measure_attention(args, denoiser, reference, latent))


def main() -> None:
    args = dit.parse_args(__doc__)
    device = torch.device(args.device)
    print(f'{args.config}, {args.size}, {args.frames} frames, at most '
          f'{args.layers_limit} blocks; {common.machine(device)}')
    tables = [], []
    for name in args.dtype:
        with torch.no_grad():
            model = dit.build(args, dit.DTYPES[name], device)
            found = measure(args, model, device)
        for table, rows in zip(tables, found, strict=True):
            table += [[f'{row[0]}, {name}', *row[1:]] for row in rows]
    common.print_table(
        ['one step', 'ms', 'TFLOP', 'time', 'FLOPs'], tables[0])
    print()
    common.print_table(['one block', 'ms', 'share'], tables[1])


if __name__ == '__main__':
    main()
