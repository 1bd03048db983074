r"""What each process of benchmarks/distributed.py does."""
import argparse
import ctypes
import json
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

from wan.distributed.branches import spread_branches
from wan.distributed.fsdp import shard_model
from wan.distributed.groups import Groups, processes
from wan.distributed.mesh import Mesh
from wan.distributed.xdit_context_parallel import SequenceParallel
from wan.modules.attention import attention

from . import common, dit, scaling

MODELS = {
    'small': dict(config='t2v-1.3B', dim=384, ffn_dim=1536, num_layers=4),
    '1.3B': dict(config='t2v-1.3B'), '14B': dict(config='t2v-14B')}
# glibc's option that gives blocks from so many bytes on back when freed.
MMAP_THRESHOLD = -3, 1 << 16


@dataclass(frozen=True)
class Layout:
    r"""An arrangement, and whether weights are shared."""
    mesh: Mesh
    fsdp: bool

    @classmethod
    def of(cls, name: str) -> 'Layout':
        r"""'B2U4R2F', see above; '1' is one process."""
        found = re.fullmatch(
            r'1|(?:B(\d+))?(?:U(\d+))?(?:R(\d+))?(?:(F)(\d+)?)?', name)
        if not name or found is None:
            raise ValueError(
                f'{name!r} is no layout; allowed are 1 and names like B2U4R2F '
                f'and F8.')
        b, u, r, f, copies = found.groups(default='')
        return cls(Mesh(int(b or 1), int(r or 1), int(u or 1),
                        int(copies or 1)), bool(f))


class Sent(TorchDispatchMode):
    r"""Counts the bytes that this process sends while it is entered.

    Of a broadcast or gather, what reaches each of the others is counted once.
    """

    def __init__(self):
        super().__init__()
        self.bytes = 0.

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == 'c10d':
            self.bytes += sent_by(func._overloadpacket.__name__, args)
        return func(*args, **(kwargs or {}))


def sent_by(name: str, args: Sequence) -> float:
    r"""Bytes that this process sends in a call of torch.ops.c10d.

    Raises:
        KeyError: a call that is not used here.
    """
    if name in ('recv_', 'barrier'):
        return 0.
    at = 1 if name in ('send', 'broadcast_') else 2
    given, group = args[at - 1], dist.ProcessGroup.unbox(args[at])
    given = [given] if isinstance(given, torch.Tensor) else given
    size, others = sum(x.nbytes for x in given), group.size() - 1
    if name == 'broadcast_':
        return size * others if group.rank() == args[2] else 0.
    return size * {
        'send': 1., 'alltoall_base_': others / group.size(),
        'allgather_': others, '_allgather_base_': others}[name]


class WithPadding(SequenceParallel):
    r"""Attends to the padding too, as is done elsewhere."""

    def split(self, tokens, attend):
        part, shared = super().split(tokens, attend)
        shared.length = self.mesh.sp_size * part.x.size(1)
        return part, shared


def build(args) -> torch.nn.Module:
    r"""A network of random weights, the same in every process."""
    sizes = dict.fromkeys(('dim', 'ffn_dim', 'num_heads', 'num_layers'))
    return dit.build(
        argparse.Namespace(**{**sizes, **MODELS[args.model]},
                           layers_limit=args.layers_limit),
        dit.DTYPES[args.dtype], args.device)


def step_of(
    args, model: torch.nn.Module, groups: Groups, share=None
) -> Callable[[str], torch.Tensor]:
    r"""Makes all branches' velocities of a video of a size."""

    def draw(shape, seed):
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(shape, generator=generator).to(groups.device)

    text = model.project_text([draw((60, 4096), 0)])

    def one_by_one(latents, t):
        return {name: model(
            [x], torch.tensor([t], device=x.device), text, tokens(x.shape),
            attend=attention, share=share)[0] for name, x in latents.items()}

    v = spread_branches(one_by_one, groups.branch)

    def step(size):
        shape = latent_shape(args, size)
        latents = {str(i): draw(shape, 1 + i) for i in range(args.branches)}
        return torch.stack(list(v(latents, 500.).values()))

    return step


def latent_shape(args, size: str) -> tuple[int, ...]:
    width, height = map(int, size.split('*'))
    return 16, (args.frames - 1) // 4 + 1, height // 8, width // 8


def tokens(shape: Sequence[int]) -> int:
    r"""Of a latent [16, F, H, W]."""
    return math.prod(shape[1:]) // 4


def measured(args, groups: Groups, fsdp: bool) -> dict:
    r"""What this process finds."""
    mesh, model = groups.mesh, build(args)
    if fsdp:
        shard_model(model, groups.weights)
    share = SequenceParallel(groups) if mesh.sp_size > 1 else None
    step = step_of(args, model, groups, share)
    found = dict(errors=[], held=sum(
        getattr(p, 'to_local', lambda p=p: p)().nbytes
        for p in model.parameters()))

    def error(out, size):
        file = Path(args.folder, size.replace('*', 'x'))
        if mesh.size == 1:
            torch.save(out, file)
        want = torch.load(file, weights_only=True, map_location=out.device)
        return common.relative_error(out, want)

    found['errors'] = [error(step(size), size) for size in args.sizes]
    if share is not None:
        padding = step_of(args, model, groups, WithPadding(groups))
        found['padding'] = error(padding(args.sizes[-1]), args.sizes[-1])
    size = args.sizes[0]
    with Sent() as sent:
        step(size)
    found['sent'] = sent.bytes
    found['expected'] = evaluation_of(args, model).sent_a_step(
        mesh, args.branches, fsdp)
    found['seconds'], found['busy'] = map(min, zip(*(
        timed(lambda: step(size), groups.device)
        for _ in range(args.rounds)), strict=True))
    found['peak'] = common.peak_memory_of(lambda: step(size), groups.device)
    return found


def evaluation_of(args, model: torch.nn.Module) -> scaling.Evaluation:
    r"""One forward of the first size, for the formulas."""
    itemsize = dit.DTYPES[args.dtype].itemsize
    return scaling.Evaluation(
        model, tokens(latent_shape(args, args.sizes[0])),
        itemsize * scaling.spread_numbers(model), itemsize)


def timed(
    fn: Callable[[], object], device: torch.device
) -> tuple[float, float]:
    r"""Seconds of what all processes begin together, and of this one's CPU."""
    dist.barrier()
    start = time.process_time()
    return common.seconds(fn, device), time.process_time() - start


def work(rank: int, args, name: str) -> None:
    r"""What a process does; its findings are left in a file."""
    layout = Layout.of(name)
    device = torch.device(args.device)
    if device.type == 'cuda':
        device = torch.device('cuda', rank)
    else:
        torch.set_num_threads(1)
        # So that the peak is of what is needed, not of what is kept to hand.
        ctypes.CDLL(None).mallopt(*MMAP_THRESHOLD)
    args.device = device
    folder = Path(args.folder)
    with torch.no_grad(), processes(
            device, init_method=f'file://{folder / name}.meeting', rank=rank,
            world_size=layout.mesh.size):
        found = measured(args, Groups.of(layout.mesh, device), layout.fsdp)
    (folder / f'{name}.{rank}').write_text(json.dumps(found))
