r"""The machine as one value: where and how a checkpoint is run."""
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from .modules.backends import BACKENDS, attention, check_backend
from .utils.flags import check_choices, choice, switch

# Settings of a run of several processes.
PARALLEL = (
    'ulysses_size', 'ring_size', 'branch_parallel', 't5_fsdp', 'dit_fsdp')
DEVICES = ('cuda', 'mps', 'cpu')
DTYPES = {'bfloat16': torch.bfloat16, 'float32': torch.float32}


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
        offload_model: keep transformer and text encoder off the device while
            they do not run, which is the default; the VAE stays.
        t5_cpu: encode text on the CPU.
        vae_tiling: encode and decode in tiles: less memory, more time.
        cache_text: keep each prompt's cross-attention keys and values while
            sampling (94 MB a prompt for the 1.3B model).
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
    offload_model: bool | None = None
    t5_cpu: bool = switch()
    vae_tiling: bool = switch()
    cache_text: bool = True
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
        try:
            device = torch.device(self.device or default_device(
                int(os.environ.get('LOCAL_RANK', '0'))))
            if device.type not in DEVICES:
                raise RuntimeError(f'known are {", ".join(DEVICES)}')
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0].rstrip('.')
            raise ValueError(
                f'device {self.device} is not usable here: {reason}.'
            ) from error
        check_backend(self.attention)
        dtype = self.dtype or str(default_dtype(device)).removeprefix('torch.')
        alone = os.environ.get('WORLD_SIZE', '1') == '1'
        sizes = {name: 1 for name in ('ulysses_size', 'ring_size')
                 if alone and getattr(self, name) == 'auto'}
        return replace(
            self, device=str(device), dtype=dtype, **sizes,
            offload_model=alone if self.offload_model is None
            else self.offload_model)

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
    def attend(self) -> Callable[..., torch.Tensor]:
        r"""`attention` by the chosen back end."""
        return partial(attention, backend=self.attention)

    @property
    def sp_size(self) -> int:
        r"""Processes that share a video's tokens, of a resolved runtime."""
        return self.ulysses_size * self.ring_size
