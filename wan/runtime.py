r"""The machine as one value: where and how a checkpoint is run."""
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from .modules.backends import BACKENDS, attention, check_backend
from .modules.quantize import KINDS as QUANTIZED
from .utils.flags import check_choices, choice, switch

# Settings of a run of several processes.
PARALLEL = (
    'ulysses_size', 'ring_size', 'branch_parallel', 't5_fsdp', 'dit_fsdp')
DEVICES = ('cuda', 'mps', 'cpu')
COMPILERS = ('g++', 'clang++', 'c++')
DTYPES = {'bfloat16': torch.bfloat16, 'float32': torch.float32}

# What a profile may set: as upstream has it, and for cards of that memory.
# `offload_blocks` is for CUDA alone.
PLAIN = {
    'offload_blocks': False, 'quantize': 'none', 't5_cpu': False,
    'vae_tiling': False, 'vae_dtype': 'float32', 'cache_text': True}
PROFILES = {
    '8gb': {
        'offload_blocks': True, 'quantize': 'int8', 'vae_tiling': True,
        'vae_dtype': 'bfloat16', 'cache_text': False},
    '12gb': {
        'offload_blocks': True, 'vae_tiling': True, 'vae_dtype': 'bfloat16'},
    '24gb': {'quantize': 'int8', 'vae_tiling': True},
    '48gb': {},
    'max': {'offload_model': False},
}


def default_device(device_id: int = 0) -> torch.device:
    r"""The CUDA device of that number, else Apple's GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device('cuda', device_id)
    if torch.backends.mps.is_available():
        return torch.device('mps')
    return torch.device('cpu')


def default_dtype(device: torch.device) -> torch.dtype:
    r"""bfloat16 where the hardware multiplies it, float32 elsewhere."""
    if device.type != 'cpu':
        return torch.bfloat16
    # torch < 2.9 cannot tell; float32 is always right.
    features = getattr(torch.cpu, 'get_capabilities', dict)()
    fast = features.get('amx_bf16') or features.get('avx512_bf16')
    return torch.bfloat16 if fast else torch.float32


@dataclass(frozen=True)
class Runtime:
    r"""Settings of the machine; they change speed and memory, not the task.

    Two pipelines of different runtimes can work in one process: each carries
    its own, and nothing of it is kept anywhere else.

    Args:
        device: cuda, cuda:1, mps or cpu; the best there is if left out.
        dtype: of the transformer: bfloat16 or float32; bfloat16 where it is
            fast if left out.
        attention: attention back end; auto takes the best there is.
        profile: settings for a card of that memory, in place of those of the
            next seven that are left out; max is for speed.
        offload_model: keep every network off the device while it does not
            run, which is the default.
        offload_blocks: keep the blocks of transformer and text encoder off
            the device even then, but for the one that runs and the next.
        quantize: keep the weights of the blocks' linear layers in 8 bits, of
            transformer and text encoder, or none of them.
        t5_cpu: encode text on the CPU.
        vae_tiling: encode and decode in tiles: less memory, more time.
        vae_dtype: of the VAE: float32 or bfloat16, less memory and time.
        cache_text: keep each prompt's cross-attention keys and values while
            sampling (94 MB a prompt for the 1.3B model).
        compile: let torch.compile make one program of each block: minutes at
            the start, and faster steps.
        ulysses_size: processes that share a video's tokens by swapping them
            for heads, which it must divide; auto takes as many as it can.
        ring_size: processes that share a video's tokens by passing keys and
            values around; auto takes the rest.
        branch_parallel: groups of processes that evaluate different branches
            of a step.
        t5_fsdp: spread the text encoder's weights over the processes.
        dit_fsdp: spread the transformer's weights over the processes.

    Raises:
        ValueError: a name that is not known.
    """
    device: str | None = None
    dtype: str | None = choice(None, DTYPES)
    attention: str = choice('auto', BACKENDS)
    profile: str | None = choice(None, PROFILES)
    offload_model: bool | None = None
    offload_blocks: bool | None = None
    quantize: str | None = choice(None, ('none', *QUANTIZED))
    t5_cpu: bool | None = None
    vae_tiling: bool | None = None
    vae_dtype: str | None = choice(None, DTYPES)
    cache_text: bool | None = None
    compile: bool = switch()
    ulysses_size: int | str = 1
    ring_size: int | str = 1
    branch_parallel: int = 1
    t5_fsdp: bool = switch()
    dit_fsdp: bool = switch()

    def __post_init__(self):
        check_choices(self)

    def resolved(self) -> 'Runtime':
        r"""What was left out filled in with what this machine has.

        Raises:
            ValueError: a device or an attention back end that it lacks.
        """
        number = int(os.environ.get('LOCAL_RANK', '0'))
        alone = os.environ.get('WORLD_SIZE', '1') == '1'
        try:
            device = torch.device(self.device or default_device(number))
            if device.type not in DEVICES:
                raise RuntimeError(f'known are {", ".join(DEVICES)}')
            if device == torch.device('cuda') and not alone:
                device = torch.device('cuda', number)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0].rstrip('.')
            raise ValueError(
                f'device {self.device} is not usable here: {reason}.'
            ) from error
        check_backend(self.attention)
        dtype = self.dtype or str(default_dtype(device)).removeprefix('torch.')
        sizes = {name: 1 for name in ('ulysses_size', 'ring_size')
                 if alone and getattr(self, name) == 'auto'}
        left = {**PLAIN, 'offload_model': alone,
                **PROFILES.get(self.profile, {})}
        if device.type != 'cuda':  # elsewhere there is one memory
            left['offload_blocks'] = False
        found = replace(
            self, device=str(device), dtype=dtype, **sizes,
            **{name: value for name, value in left.items()
               if getattr(self, name) is None})
        found._check_fit()
        return found

    def _check_fit(self) -> None:
        r"""Check that settings of a resolved runtime fit together.

        Raises:
            ValueError: they do not.
        """
        kind = self.torch_device.type
        spread = [name for name in ('dit_fsdp', 't5_fsdp')
                  if getattr(self, name)]
        if self.offload_blocks and kind != 'cuda':
            raise ValueError(
                f'offload_blocks moves weights between two memories, and '
                f'device {self.device} has one: it needs cuda.')
        for name, value in (('offload_blocks', self.offload_blocks),
                            ('quantize', self.quantize != 'none')):
            if value and spread:
                raise ValueError(
                    f'{name} does not go with {" and ".join(spread)}, which '
                    f'keeps the weights in its own way.')
        if self.quantize == 'fp8' and kind == 'mps':
            raise ValueError('quantize fp8 is not to be had on mps: int8 is.')
        if self.compile and self.parallel:
            raise ValueError(
                'compile is for one process: what several exchange within a '
                'block cannot be part of its program.')
        if self.compile and kind == 'cpu' and not any(map(
                shutil.which, filter(None, (
                    os.environ.get('CXX'), *COMPILERS)))):
            raise ValueError(
                f'compile needs a C++ compiler on the CPU, and none of '
                f'{", ".join(COMPILERS)} is found.')

    @property
    def parallel(self) -> bool:
        r"""Whether it is of several processes."""
        return any(getattr(self, name) != getattr(Runtime, name)
                   for name in PARALLEL)

    def check_single(self) -> None:
        r"""Check that one process is enough.

        Raises:
            ValueError: several are asked for.
        """
        for name in PARALLEL:
            value = getattr(self, name)
            if value not in (getattr(Runtime, name), 'auto'):
                raise ValueError(
                    f'{name} {value} needs several processes, and there is '
                    f'one: start them with torchrun --nproc_per_node N.')

    @property
    def torch_device(self) -> torch.device:
        r"""Of a resolved runtime."""
        return torch.device(self.device)

    @property
    def torch_dtype(self) -> torch.dtype:
        r"""Of a resolved runtime."""
        return DTYPES[self.dtype]

    @property
    def torch_vae_dtype(self) -> torch.dtype:
        r"""Of a resolved runtime."""
        return DTYPES[self.vae_dtype]

    @property
    def attend(self) -> Callable[..., torch.Tensor]:
        r"""`attention` by the chosen back end."""
        return partial(attention, backend=self.attention)

    @property
    def sp_size(self) -> int:
        r"""Processes that share a video's tokens, of a resolved runtime."""
        return self.ulysses_size * self.ring_size
