r"""The machine as one value: where and how a checkpoint is run."""
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from .modules.backends import BACKENDS, attention, check_backend
from .utils.flags import check_choices, choice, switch

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
        ulysses_size: processes that share the heads; several GPUs: not yet.
        ring_size: processes that share the tokens; several GPUs: not yet.
        t5_fsdp: shard the text encoder; several GPUs: not yet.
        dit_fsdp: shard the transformer; several GPUs: not yet.

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
    ulysses_size: int = 1
    ring_size: int = 1
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
            device = torch.device(self.device or default_device())
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
        return replace(
            self, device=str(device), dtype=dtype,
            offload_model=self.offload_model is not False)

    def check_single(self) -> None:
        r"""Check that one process is enough.

        Raises:
            ValueError: several GPUs are asked for.
        """
        for name in ('ulysses_size', 'ring_size', 't5_fsdp', 'dit_fsdp'):
            if getattr(self, name) != getattr(Runtime, name):
                raise ValueError(
                    f'{name} {getattr(self, name)} needs several GPUs; this '
                    f'version runs on one device.')

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
        r"""Processes that share a video's tokens."""
        return self.ulysses_size * self.ring_size
