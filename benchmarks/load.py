r"""Memory and time of loading weights, beside the weights that are kept.

    python -m benchmarks.load [--mb 500]

Makes a transformer in three safetensors shards, and the text encoder's linear
layers in one .pth, loads each in a fresh process, in its stored dtype and cast
to bfloat16, and touches every weight as a first forward would. Peak is the
resident memory above that of the process before; of what is resident at the
end, `anon` is this process's own and `file` mapped from the checkpoint, which
the system takes back when it needs room.
"""
import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.nn as nn
from safetensors.torch import save_file

from wan.modules.model import WanModel
from wan.modules.t5 import T5Encoder
from wan.utils.checkpoint import load_weights, weight_files

from .common import host_memory, machine, print_table

STEM = 'diffusion_pytorch_model'
SHARDS = 3


def networks(mb: float) -> dict[str, nn.Module]:
    r"""Networks of about `mb` MB in float32, on the meta device."""
    with torch.device('meta'):
        dit = WanModel(dim=1024, ffn_dim=4096, num_heads=8, num_layers=1)
        layer = size_of(dit.blocks[0], torch.float32)
        layers = max(1, round((mb - size_of(dit, torch.float32)) / layer) + 1)
        return {
            'transformer': WanModel(
                dim=1024, ffn_dim=4096, num_heads=8, num_layers=layers),
            'text encoder': T5Encoder(
                vocab=32000, dim=1024, dim_attn=1024, dim_ffn=2560,
                num_heads=16, num_layers=max(1, round(mb / 50)),
                num_buckets=32, shared_pos=False),
        }


def size_of(model: nn.Module, dtype: torch.dtype | None = None) -> float:
    r"""MB of the weights, in their own dtype if none is given."""
    return sum(
        p.numel() * (dtype or p.dtype).itemsize
        for p in model.parameters()) / 1e6


def write(model: nn.Module, folder: Path) -> None:
    folder.mkdir()
    zeros = {k: torch.zeros(v.shape) for k, v in model.state_dict().items()}
    if isinstance(model, T5Encoder):
        torch.save(zeros, folder / 't5.pth')
        return
    names = {k: f'{STEM}-{i * SHARDS // len(zeros) + 1:05d}.safetensors'
             for i, k in enumerate(zeros)}
    for name in set(names.values()):
        save_file({k: v for k, v in zeros.items() if names[k] == name},
                  folder / name)
    (folder / f'{STEM}.safetensors.index.json').write_text(
        json.dumps({'weight_map': names}))


def load(name: str, mb: float, folder: Path, dtype: str) -> None:
    r"""In a process of its own: load, touch, print what it took."""
    model = networks(mb)[name]
    before = host_memory()
    start = time.perf_counter()
    files = sorted(folder.glob('*.pth')) or weight_files(folder)
    load_weights(model, files, getattr(torch, dtype, None))
    seconds = time.perf_counter() - start
    for parameter in model.parameters():
        parameter.view(-1)[::512].sum()
    after = host_memory()
    print(json.dumps({
        'kept': size_of(model), 'seconds': seconds,
        'peak': after['VmHWM'] - before['RssAnon'] - before['RssFile'],
        'anon': after['RssAnon'] - before['RssAnon'],
        'file': after['RssFile'] - before['RssFile']}))


def measure(mb: float, folder: Path) -> list[list[str]]:
    rows = []
    for name, model in networks(mb).items():
        target = folder / name.replace(' ', '_')
        write(model, target)
        for dtype in 'stored', 'bfloat16':
            run = subprocess.run(
                [sys.executable, '-m', 'benchmarks.load', '--mb', str(mb),
                 '--load', name, str(target), dtype], capture_output=True,
                text=True, check=True)
            got = json.loads(run.stdout)
            rows.append([
                f'{name}, {dtype}', f'{got["kept"]:.0f}',
                f'{got["peak"]:.0f}', f'{got["peak"] / got["kept"]:.2f}',
                f'{got["anon"]:.0f}', f'{got["file"]:.0f}',
                f'{got["seconds"]:.2f}'])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--mb', type=float, default=500,
                        help='size of each checkpoint in float32')
    parser.add_argument('--load', nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.load:
        name, folder, dtype = args.load
        load(name, args.mb, Path(folder), dtype)
        return
    print(machine(torch.device('cpu')))
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(args.mb, Path(folder))
    print_table(['loaded', 'kept MB', 'peak MB', 'peak / kept', 'anon MB',
                 'file MB', 'seconds'], rows)


if __name__ == '__main__':
    main()
