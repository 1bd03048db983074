r"""Compare what several processes make, take and send with one process.

    python -m benchmarks.distributed --write docs/multigpu.md    # a CPU
    python -m benchmarks.distributed --device cuda --dtype bf16 \
        --model 14B --sizes '1280*720' '1264*720' --frames 81 \
        --layouts U2F U4F U8F U4R2F R8F B2U4F                    # 8 GPUs

Starts its own processes on this computer, one a GPU, or on the CPU over gloo
with a thread each. A layout's name says how many processes share what: B3
three branch groups, U2 Ulysses, R2 ring, F weights (FSDP); F2 is FSDP alone.
A step evaluates all branches; the text is projected before, as in a run. The
weights are random. Times are the fastest round's; CPU ms is what the busiest
process computed, which other programs on the machine hardly change.
"""
import argparse
import json
import tempfile
from pathlib import Path
from statistics import mean

import torch
import torch.multiprocessing as multiprocessing

from . import common, scaling
from .distributed_work import MODELS, Layout, latent_shape, tokens, work

LAYOUTS = 'U2', 'R2', 'U4', 'U2R2', 'F2', 'U2F', 'B2', 'B3'
# Of the error, over the largest magnitude.
LIMITS = {'fp32': 1e-5, 'bf16': 3e-2}
MARKS = '<!-- benchmarks.distributed -->', '<!-- end -->'
PRELOADED = 'benchmarks.distributed_work', 'yunchang'


def together(args, name: str) -> dict:
    r"""What all processes of a layout find: the worst, or the mean sent."""
    size = Layout.of(name).mesh.size
    multiprocessing.start_processes(
        work, (args, name), size, start_method='forkserver')
    found = [json.loads(Path(args.folder, f'{name}.{rank}').read_text())
             for rank in range(size)]
    worst = {key: max(one[key] for one in found) for key in found[0]}
    worst['errors'] = [max(errors) for errors in zip(
        *(one['errors'] for one in found), strict=True)]
    return {**worst, 'sent': mean(one['sent'] for one in found)}


def rows_of(args) -> list[list[str]]:
    r"""The table's rows, one of each layout."""
    rows = []
    for name in ['1', *args.layouts]:
        found = together(args, name)
        if max(found['errors']) > LIMITS[args.dtype]:
            raise SystemExit(
                f'{name}: the result differs by {max(found["errors"]):.1e}.')
        padding = found.get('padding')
        rows.append([
            name, f'{Layout.of(name).mesh.size}',
            *(f'{e:.1e}' if e else '0' for e in found['errors']),
            '' if padding is None else f'{padding:.1e}',
            f'{found["seconds"] * 1e3:.0f}', f'{found["busy"] * 1e3:.0f}',
            f'{found["sent"] / 1e6:.3f}', f'{found["expected"] / 1e6:.3f}',
            f'{found["held"] / 1e6:.0f}', f'{found["peak"]:.0f}'])
    return rows


def report(args) -> str:
    r"""The tables, and what they were made of."""
    lengths = [tokens(latent_shape(args, size)) for size in args.sizes]
    head = ['layout', 'processes', *(f'error, {n} tokens' for n in lengths),
            'padding let in', 'ms a step', 'CPU ms', 'MB sent', 'by formula',
            'MB of weights', 'MB of a step']
    return '\n'.join([
        f'**Measured** ({args.model}, {args.dtype}, {args.branches} branches '
        f'a step, {args.frames} frames of {args.sizes[0]}; '
        f'{common.machine(torch.device(args.device))}):', '',
        common.table(head, rows_of(args)), '',
        '**Predicted**, of text to video on H100, beside what was published:',
        '', common.table(
            ['GPUs', 'transformer', 'seconds', 'scaling', 'published s',
             'published'], scaling.against_published()), '',
        '**Predicted**, of one step on H100:', '', common.table(
            ['model, size', 'branches', 'GPUs', 'layout', 's a step',
             'scaling', 'GB sent', 'GiB a GPU'], scaling.predictions()), '',
        '**Estimated**, GiB a GPU while a video of 81 frames is sampled, the '
        'weights spread (F) or whole:', '', common.table(
            ['GPUs', '14B, 720p, F', 'whole', '14B, 480p, F', 'whole',
             '1.3B, 480p, F', 'whole'], scaling.memories())])


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', choices=MODELS, default='small')
    parser.add_argument('--layers_limit', type=int, default=40)
    parser.add_argument(
        '--sizes', nargs='+', default=['384*208', '368*208'],
        help='pixels, W*H; times are of the first, padding of the last')
    parser.add_argument('--frames', type=int, default=9)
    parser.add_argument('--branches', type=int, default=3,
                        help='2 as sampling with guidance, 3 as FlowAlign')
    parser.add_argument('--layouts', nargs='+', default=LAYOUTS)
    parser.add_argument('--dtype', choices=LIMITS, default='fp32')
    parser.add_argument('--device', default='cpu', choices=['cpu', 'cuda'])
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--write', type=Path, help='page to write to')
    args = parser.parse_args()
    for name in args.layouts:
        try:
            size = Layout.of(name).mesh.size
        except ValueError as error:
            parser.error(str(error))
        if args.device == 'cuda' and size > torch.cuda.device_count():
            parser.error(f'{name} needs {size} GPUs, there are '
                         f'{torch.cuda.device_count()}.')
    return args


def main() -> None:
    args = parse_args()
    multiprocessing.get_context('forkserver').set_forkserver_preload(
        list(PRELOADED))
    with tempfile.TemporaryDirectory() as args.folder:
        text = report(args)
    print(text)
    if args.write:
        common.write(args.write, text, MARKS)


if __name__ == '__main__':
    main()
