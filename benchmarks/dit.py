r"""Time one forward of the transformer, with random weights.

    python -m benchmarks.dit                               # a CPU, < 1 minute
    python -m benchmarks.dit --device cuda --dtype bf16 \
        --size 832*480 --frames 81 --layers_limit 30       # a GPU, in full

Beside it runs a straightforward implementation (plain_dit.py) that shares
its weights. A sampling step in the middle of a run is measured: the text is
projected already, which the straightforward one does not remember.
"""
import argparse
from collections.abc import Callable

import torch

from wan.configs import WAN_CONFIGS
from wan.modules.backends import BACKENDS
from wan.modules.model import WanModel
from wan.runtime import Runtime

from . import common, plain_dit

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16}
LIMITS = {'fp32': 1e-4, 'bf16': 3e-2}


def parse_args(doc: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument(
        '--config', default='t2v-1.3B',
        choices=[k for k in WAN_CONFIGS if k.startswith('t2')])
    for name in ('dim', 'ffn_dim', 'num_heads', 'num_layers'):
        parser.add_argument(
            f'--{name}', type=int, help='in place of the config value')
    parser.add_argument('--layers_limit', type=int, default=2,
                        help='build only so many blocks')
    parser.add_argument('--size', default='416*320', help='pixels, W*H')
    parser.add_argument('--frames', type=int, default=13)
    parser.add_argument('--text_tokens', type=int, default=60)
    parser.add_argument('--dtype', nargs='+', choices=DTYPES,
                        default=['fp32', 'bf16'])
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--backend', default='auto', choices=BACKENDS)
    parser.add_argument('--rounds', type=int, default=5)
    return parser.parse_args()


def attend_by(args) -> Callable[..., torch.Tensor]:
    r"""Attention by the back end that was asked for."""
    return Runtime(attention=args.backend).resolved().attend


def empty(args) -> WanModel:
    r"""On the meta device, where work is counted and not done."""
    config = WAN_CONFIGS[args.config]
    sizes = {
        name: getattr(args, name) or config[name]
        for name in ('dim', 'ffn_dim', 'num_heads', 'num_layers')}
    sizes['num_layers'] = min(sizes['num_layers'], args.layers_limit)
    with torch.device('meta'):
        return WanModel(text_len=config.text_len, **sizes)


def build(args, dtype, device) -> WanModel:
    model = empty(args)
    model.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    for key, weight in model.named_parameters():
        weight.requires_grad_(False).normal_(std=.03, generator=generator)
        if not set(model._keep_in_fp32_modules) & set(key.split('.')):
            weight.data = weight.to(dtype)
    return model.eval()


def flops(model: WanModel, tokens: int) -> float:
    r"""Of one forward: 2 per multiplication in linear layers, attention."""
    d = model.dim
    linear = 6 * d * d + 2 * d * model.ffn_dim
    attention = 2 * d * (tokens + model.text_len)
    return 2 * tokens * model.num_layers * (linear + attention)


def measure(args, name: str, device: torch.device) -> list[list[str]]:
    dtype = DTYPES[name]
    model = build(args, dtype, device)
    width, height = map(int, args.size.split('*'))
    shape = (16, (args.frames - 1) // 4 + 1, height // 8, width // 8)
    generator = torch.Generator(device).manual_seed(1)
    x = [torch.randn(shape, generator=generator, device=device)]
    text = [torch.randn(
        args.text_tokens, 4096, generator=generator, device=device)]
    t = torch.tensor([500.], device=device)
    tokens = x[0][0].numel() // 4
    projected, attend = model.project_text(text), attend_by(args)

    def ours():
        return model(x, t, projected, tokens, attend=attend)[0]

    def plain():
        return plain_dit.forward(model, x, t, text, tokens, attend)[0]

    error = common.relative_error(ours(), plain())
    if error > LIMITS[name]:
        raise SystemExit(f'{name}: the outputs differ by {error:.1e}.')
    peaks = [common.peak_memory_of(fn, device) for fn in (ours, plain)]
    product, product_work = common.matrix_product(dtype, device)
    *times, product_time = common.alternate(
        [ours, plain, product], args.rounds, device)
    rate, work = product_work / product_time, flops(model, tokens)
    print(f'{name}: {tokens} tokens, {model.num_layers} blocks, '
          f'{work / 1e12:.2f} TFLOP; a matrix product reaches '
          f'{rate / 1e12:.2f} TFLOP/s; outputs differ by {error:.1e}; '
          f'{times[1] / times[0]:.2f}x faster')
    return [
        [f'{who}, {name}', f'{s * 1e3:.0f}', f'{tokens / s:.0f}',
         f'{work / s / rate:.0%}', f'{peak:.0f}']
        for who, s, peak in zip(('WanModel', 'straightforward'), times, peaks,
                                strict=True)]


def main() -> None:
    args = parse_args(__doc__)
    device = torch.device(args.device)
    print(f'{args.config}, {args.size}, {args.frames} frames; '
          f'{common.machine(device)}')
    with torch.no_grad():
        rows = [row for name in args.dtype
                for row in measure(args, name, device)]
    common.print_table(
        ['one forward', 'ms', 'tokens/s', 'of matrix rate',
         'MB beyond weights'], rows)


if __name__ == '__main__':
    main()
