r"""What several processes send, need and take, by formulas.

The bytes are what benchmarks/distributed.py counts. The times are a
prediction, of assumptions that `Machine` names: every GPU computes at one
rate however few tokens it has, what Ulysses exchanges waits and is waited
for, what a ring or FSDP sends travels while the GPU computes.
"""
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch
from easydict import EasyDict

from wan.configs import WAN_CONFIGS
from wan.distributed.mesh import Mesh
from wan.jobs.memory import activations
from wan.modules.model import WanModel

from . import dit

# Floats of a token's velocity: 16 channels of a patch of 2 x 2.
VELOCITY = 64
# Seconds that upstream has published: Wan2.1-T2V-14B, 1280*720, 81 frames,
# 50 steps, on 1, 2, 4 and 8 H100.
PUBLISHED = {1: 1837.9, 2: 945.1, 4: 497., 8: 287.9}
FORWARDS = 100
# Measured on a CPU: 3.8 blocks, whatever their number.
TOGETHER = 4
TOKENS = {'832*480': 32760, '1280*720': 75600}


@dataclass(frozen=True)
class Machine:
    r"""What a prediction assumes of GPUs and what joins them.

    Args:
        rate: FLOP/s that the transformer reaches on one GPU.
        link: bytes/s that a GPU sends.
    """
    rate: float
    link: float = 350e9


@dataclass(frozen=True)
class Evaluation:
    r"""One forward of the transformer.

    Args:
        sizes: dim, ffn_dim, num_layers and text_len, of a config or model.
        tokens: of the video.
        weights: bytes of those that FSDP spreads.
        itemsize: bytes of a number of q, k and v.
    """
    sizes: EasyDict | WanModel
    tokens: int
    weights: float = 0.
    itemsize: int = 2

    @classmethod
    def of(cls, config: str, size: str) -> 'Evaluation':
        r"""A model of Wan2.1 in bfloat16, at 81 frames."""
        return cls(WAN_CONFIGS[config], TOKENS[size], 2. * _numbers(config))

    @property
    def flops(self) -> float:
        return dit.flops(self.sizes, self.tokens)

    @property
    def attention_flops(self) -> float:
        r"""Of the self-attentions alone."""
        return 4. * self.tokens**2 * self.sizes.dim * self.sizes.num_layers

    def sent(self, mesh: Mesh, fsdp: bool = False) -> dict[str, float]:
        r"""Bytes that one process sends in one forward, by what for."""
        own = mesh.shard_length(self.tokens)
        shard = self.sizes.num_layers * own * self.sizes.dim * self.itemsize
        part = self.weights / mesh.group_size if fsdp else 0.
        return {
            # q, k, v and the result, all but what stays here.
            'ulysses': 4 * shard * (1 - 1 / mesh.ulysses),
            # k and v are passed on until they were everywhere.
            'ring': 2. * shard * (mesh.ring - 1),
            'gather': 4. * own * VELOCITY * (mesh.sp_size - 1),
            'weights': part * (mesh.group_size - 1)}

    def sent_a_step(
        self, mesh: Mesh, branches: int, fsdp: bool = False
    ) -> float:
        r"""Bytes that a process sends in a step, mean of all processes."""
        evaluations = branches * sum(self.sent(mesh, fsdp).values())
        velocities = 4 * VELOCITY * self.tokens * branches * (mesh.branch - 1)
        return (evaluations + velocities) / mesh.branch

    def seconds(
        self, mesh: Mesh, machine: Machine, fsdp: bool = False
    ) -> float:
        r"""Of one forward, as predicted."""
        sent = self.sent(mesh, fsdp)
        compute = self.flops / mesh.sp_size / machine.rate
        attention = self.attention_flops / mesh.sp_size / machine.rate
        exposed = sent['ulysses'] + sent['gather'] + max(
            0., sent['ring'] - machine.link * attention) + max(
            0., sent['weights'] - machine.link * compute)
        return compute + exposed / machine.link

    def seconds_a_step(
        self, mesh: Mesh, machine: Machine, branches: int, fsdp: bool = False
    ) -> float:
        r"""Of a step: the busiest branch group's forwards."""
        return -(-branches // mesh.branch) * self.seconds(mesh, machine, fsdp)

    def memory(self, mesh: Mesh, fsdp: bool = False) -> float:
        r"""Bytes of a process while it samples, estimated."""
        one = self.weights / self.sizes.num_layers
        # Blocks put together: one at work, the next, and what arrives.
        weights = self.weights / mesh.group_size + TOGETHER * one \
            if fsdp and mesh.group_size > 1 else self.weights
        per_token = activations(
            self.sizes.dim, self.sizes.ffn_dim, self.itemsize)
        if mesh.ring > 1:
            # Keys and values on their way, sums and block in float32.
            per_token += (2 * self.itemsize + 8) * self.sizes.dim
        return weights + mesh.shard_length(self.tokens) * per_token


def spread_numbers(model: WanModel) -> int:
    r"""Numbers of a network's weights that FSDP spreads."""
    fp32 = set(model._keep_in_fp32_modules)
    return sum(p.numel() for name, p in model.named_parameters()
               if not fp32 & set(name.split('.')))


@cache
def _numbers(config: str) -> int:
    sizes = ('dim', 'ffn_dim', 'num_heads', 'num_layers')
    with torch.device('meta'):
        return spread_numbers(WanModel(
            **{name: WAN_CONFIGS[config][name] for name in sizes}))


def fitted(evaluation: Evaluation) -> tuple[Machine, float]:
    r"""The rate, and the seconds not shared, by upstream's 1 and 2 GPUs."""
    one, two = PUBLISHED[1], PUBLISHED[2]
    shared = 2 * (one - two)
    return Machine(FORWARDS * evaluation.flops / shared), one - shared


def against_published() -> Iterator[list[str]]:
    r"""Rows: what the fit gives for more GPUs, and what was published."""
    evaluation = Evaluation.of('t2v-14B', '1280*720')
    machine, rest = fitted(evaluation)
    alone = evaluation.seconds(Mesh(), machine)
    for count, published in PUBLISHED.items():
        own = evaluation.seconds(Mesh(ulysses=count), machine, True)
        whole = FORWARDS * own + rest
        yield [f'{count}', f'{alone / own:.2f}x', f'{whole:.0f}',
               f'{PUBLISHED[1] / whole:.2f}x', f'{published}',
               f'{PUBLISHED[1] / published:.2f}x']


# (model, size, branches of a step, arrangement).
PLANS = [
    ('t2v-14B', '1280*720', 2, Mesh(ulysses=8)),
    ('t2v-14B', '1280*720', 2, Mesh(ulysses=4, ring=2)),
    ('t2v-14B', '1280*720', 2, Mesh(ring=8)),
    ('t2v-14B', '1280*720', 2, Mesh(branch=2, ulysses=4)),
    ('t2v-14B', '1280*720', 3, Mesh(ulysses=8)),
    ('t2v-14B', '1280*720', 3, Mesh(branch=3, ulysses=2)),
    ('t2v-14B', '1280*720', 2, Mesh(copies=8)),
    ('t2v-1.3B', '832*480', 2, Mesh(ulysses=4, ring=2)),
    ('t2v-1.3B', '832*480', 2, Mesh(ulysses=2, ring=4)),
    ('t2v-1.3B', '832*480', 2, Mesh(ring=8)),
    ('t2v-1.3B', '832*480', 2, Mesh(branch=2, ulysses=4)),
    ('t2v-1.3B', '832*480', 3, Mesh(ulysses=6)),
    ('t2v-1.3B', '832*480', 3, Mesh(branch=3, ulysses=2)),
    ('t2v-1.3B', '832*480', 3, Mesh(branch=3)),
]


def name_of(mesh: Mesh, fsdp: bool = False) -> str:
    r"""As --layouts has it: 'B2U4R2F', 'F8', '1'."""
    parts = [f'{letter}{n}' for letter, n in (
        ('B', mesh.branch), ('U', mesh.ulysses), ('R', mesh.ring)) if n > 1]
    if fsdp:
        parts.append(f'F{mesh.copies}' if mesh.sp_size == 1 else 'F')
    return ''.join(parts) or '1'


def predictions() -> Iterator[list[str]]:
    r"""Rows: what each of `PLANS` takes, sends and needs."""
    machine, _ = fitted(Evaluation.of('t2v-14B', '1280*720'))
    for config, size, branches, mesh in PLANS:
        fsdp = '14B' in config
        evaluation = Evaluation.of(config, size)
        one = evaluation.seconds_a_step(Mesh(), machine, branches)
        many = evaluation.seconds_a_step(mesh, machine, branches, fsdp)
        sent = evaluation.sent_a_step(mesh, branches, fsdp)
        yield [f'{config[4:]}, {size}', f'{branches}', f'{mesh.size}',
               name_of(mesh, fsdp), f'{many:.3g}', f'{one / many:.2f}x',
               f'{sent / 1e9:.1f}',
               f'{evaluation.memory(mesh, fsdp) / 2**30:.1f}']


def memories() -> Iterator[list[str]]:
    r"""Rows: GiB of a process while it samples, weights spread and whole."""
    cases = [Evaluation.of(*case) for case in (
        ('t2v-14B', '1280*720'), ('t2v-14B', '832*480'),
        ('t2v-1.3B', '832*480'))]
    for count in PUBLISHED:
        # As much Ulysses as 12 heads allow.
        mesh = Mesh.of(count, 12, 'auto', 'auto')
        yield [f'{count}', *(
            f'{one.memory(mesh, fsdp) / 2**30:.1f}'
            for one in cases for fsdp in (True, False))]
