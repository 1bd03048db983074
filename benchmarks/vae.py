r"""Time encoding and decoding a clip with the VAE, with random weights.

    python -m benchmarks.vae                               # a CPU, < 1 minute
    python -m benchmarks.vae --device cuda --dtype bf16 --dim 96 \
        --size 832*480 --frames 81 --tile 48 8             # a GPU, in full

Four ways: a straightforward one (plain_vae.py) that shares the weights, ours
streamed in chunks (what the pipelines do), in one pass, and streamed in tiles.
"""
import argparse
from functools import partial

import torch

from wan.modules.vae import OFFICIAL, WanVAE_
from wan.modules.vae_layers import channels_last

from . import common, plain_vae

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16}
LIMITS = {'fp32': 1e-4, 'bf16': 1e-1}
NO_SCALE = [0., 1.]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--dim', type=int, default=24,
                        help='width of the network; 96 is the official one')
    parser.add_argument('--size', default='128*96', help='pixels, W*H')
    parser.add_argument('--frames', type=int, default=9, help='4n + 1')
    parser.add_argument('--tile', type=int, nargs=2, default=(10, 2),
                        metavar=('SIDE', 'OVERLAP'), help='in latent cells')
    parser.add_argument('--dtype', nargs='+', choices=DTYPES,
                        default=['fp32', 'bf16'])
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--rounds', type=int, default=2)
    return parser.parse_args()


def build(args, dtype: torch.dtype) -> WanVAE_:
    torch.manual_seed(0)
    model = WanVAE_(**OFFICIAL | {'dim': args.dim, 'z_dim': 16})
    return model.to(args.device, dtype).eval()


def encode_ways(args, fast: WanVAE_, plain: WanVAE_) -> dict:
    return {
        'straightforward': partial(plain_vae.encode, plain),
        'streamed': partial(fast.encode, scale=NO_SCALE),
        'one pass': lambda x: fast.conv1(fast.encoder(x)),
        'tiled': partial(fast.encode, scale=NO_SCALE, tile=args.tile),
    }


def decode_ways(args, fast: WanVAE_, plain: WanVAE_) -> dict:
    return {
        'straightforward': partial(plain_vae.decode, plain),
        'streamed': partial(fast.decode, scale=NO_SCALE),
        'one pass': lambda z: fast.decoder(fast.conv2(z)),
        'tiled': partial(fast.decode, scale=NO_SCALE, tile=args.tile),
    }


def measure(args, name: str, device: torch.device) -> list[list[str]]:
    dtype = DTYPES[name]
    fast, plain = channels_last(build(args, dtype)), build(args, dtype)
    width, height = map(int, args.size.split('*'))
    video = torch.randn(1, 3, args.frames, height, width)
    latent = torch.randn(
        1, 16, 1 + (args.frames - 1) // 4, height // 8, width // 8)
    rows = []
    for what, ways, x in (('encode', encode_ways, video),
                          ('decode', decode_ways, latent)):
        x = x.to(device, dtype)
        runs = {way: partial(fn, x)
                for way, fn in ways(args, fast, plain).items()}
        error = common.relative_error(
            runs['streamed'](), runs['straightforward']())
        if error > LIMITS[name]:
            raise SystemExit(f'{what}: the outputs differ by {error:.1e}.')
        peaks = [common.peak_memory_of(fn, device) for fn in runs.values()]
        times = common.alternate(list(runs.values()), args.rounds, device)
        rows += [
            [f'{what} {name}, {way}', f'{s * 1e3:.0f}',
             f'{args.frames / s:.1f}', f'{times[0] / s:.2f}x', f'{peak:.0f}']
            for way, s, peak in zip(runs, times, peaks, strict=True)]
    return rows


def main() -> None:
    args = parse_args()
    device = torch.device(args.device)
    print(f'VAE of width {args.dim}, {args.size}, {args.frames} frames; '
          f'{common.machine(device)}')
    with torch.no_grad():
        rows = [row for name in args.dtype
                for row in measure(args, name, device)]
    common.print_table(
        ['one clip', 'ms', 'frames/s', 'speed', 'peak MB'], rows)


if __name__ == '__main__':
    main()
