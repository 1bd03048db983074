r"""Time a FlowAlign step with and without the product photo, random weights.

    python benchmarks/refdrop.py                            # a CPU, < 1 minute
    python benchmarks/refdrop.py --device cuda --dtype bf16 \
        --size 832*480 --frames 81 --layers_limit 30        # a GPU, in full

The photo has the tokens of one latent frame of T, so reading it may cost at
most 1/T of the self-attention in the branches that read, and nothing in the
others. With the masks on, as is the default, only the product's tokens read
only the product's keys: here a quarter of each. The first table is a step of
three evaluations, the second one self-attention and the slot that reads.
"""
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import common, dit
from wan.branches import BranchVelocity
from wan.modules.model import rotation_table
from wan.refdrop.bank import Bank, capture
from wan.refdrop.config import RefConfig


def measure_step(args, model, bank, latent, text, device) -> list[list[str]]:
    grid = tuple(n // p for n, p in zip(
        latent.shape[1:], model.patch_size, strict=True))
    tokens = grid[0] * grid[1] * grid[2]
    prompts = {'source': text, 'target': text}
    step = dict.fromkeys(('q', 'ps', 'pt'), latent)

    def reading(bank, mask=None):
        return lambda names, sigma: bank.slots(
            [n in bank.config.reading for n in names], grid, mask)

    def quarter(n):
        return torch.arange(n, device=device) < n // 4

    keys = grid[1] * grid[2]
    masked = Bank(
        (replace(bank.references[0], mask=quarter(keys)),), bank.config)
    slots = {
        'without': None, 'with the photo': reading(bank),
        'with masks': reading(masked, quarter(tokens))}
    velocities = [
        BranchVelocity(model, prompts, tokens, slot)
        for slot in slots.values()]
    times = common.alternate(
        [lambda v=v: v(step, .7) for v in velocities], args.rounds, device)
    plain = 3 * dit.flops(model, tokens)
    extra = 2 * model.num_layers * 4 * tokens * keys * model.dim
    work = [plain, plain + extra, plain + extra / 16]
    return [
        [name, f'{s * 1e3:.0f}', f'{flop / 1e12:.2f}',
         f'{s / times[0] - 1:+.1%}', f'{flop / plain - 1:+.1%}']
        for name, s, flop in zip(slots, times, work, strict=True)]


def measure_attention(args, model, bank, latent, device) -> list[list[str]]:
    attn = model.blocks[0].self_attn
    grid = tuple(n // p for n, p in zip(
        latent.shape[1:], model.patch_size, strict=True))
    tokens = grid[0] * grid[1] * grid[2]
    dtype = attn.q.weight.dtype
    x = torch.randn(1, tokens, model.dim, device=device)
    rotation = rotation_table((grid,), model.freqs, tokens, device)
    slot = bank.slots([True], grid)[0]
    grids = torch.tensor([grid])
    q = torch.randn(1, tokens, attn.num_heads, attn.head_dim, device=device)
    v = q.to(dtype)

    def whole():
        return attn(x, None, grids, rotation)

    def read():
        return slot(q, q, v, v, grids, rotation, v)

    times = common.alternate([whole, read], args.rounds, device)
    return [
        ['self-attention', f'{times[0] * 1e3:.1f}', ''],
        ['reading', f'{times[1] * 1e3:.1f}',
         f'{times[1] / times[0]:.1%} (1/T = {1 / grid[0]:.1%})']]


def main() -> None:
    args = dit.parse_args(__doc__)
    device = torch.device(args.device)
    width, height = map(int, args.size.split('*'))
    shape = (16, (args.frames - 1) // 4 + 1, height // 8, width // 8)
    print(f'{args.config}, {args.size}, {args.frames} frames, at most '
          f'{args.layers_limit} blocks; {common.machine(device)}')
    step, attention = [], []
    for name in args.dtype:
        with torch.no_grad():
            model = dit.build(args, dit.DTYPES[name], device)
            latent, text = (
                torch.randn(*s, device=device)
                for s in (shape, (args.text_tokens, model.text_dim)))
            bank = Bank((capture(model, latent[:, :1], [text]),), RefConfig())
            step += [[f'{row[0]}, {name}', *row[1:]] for row in measure_step(
                args, model, bank, latent, text, device)]
            attention += [
                [f'{row[0]}, {name}', *row[1:]] for row in measure_attention(
                    args, model, bank, latent, device)]
    common.print_table(
        ['one step', 'ms', 'TFLOP', 'time', 'FLOPs'], step)
    print()
    common.print_table(['one block', 'ms', 'share'], attention)


if __name__ == '__main__':
    main()
