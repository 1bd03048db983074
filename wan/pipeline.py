r"""What every task does: load the parts, encode text, sample, decode."""
import gc
import logging
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn as nn
from easydict import EasyDict

from .modules.model import TextContext, WanModel
from .modules.t5 import T5EncoderModel
from .modules.vae import WanVAE
from .samplers import denoise, guided, make_scheduler
from .utils.checkpoint import check_checkpoint, find_weights
from .utils.record import progress

log = logging.getLogger(__name__)


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


class WanPipeline:
    r"""The parts of a checkpoint and the steps all tasks share."""

    sp_size = 1
    cache_text = True

    def __init__(
        self,
        config: EasyDict,
        checkpoint_dir: str | Path,
        device_id: int = 0,
        rank: int = 0,
        t5_fsdp: bool = False,
        dit_fsdp: bool = False,
        use_usp: bool = False,
        t5_cpu: bool = False,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        vae_tiling: bool = False,
        cache_text: bool = True,
    ):
        r"""Load a checkpoint folder.

        Args:
            config: an entry of `WAN_CONFIGS`; the transformer's size comes
                from the folder's own config.json.
            checkpoint_dir: an official folder, or a small one like it.
            device_id: number of the CUDA device.
            rank: of this process; only rank 0 gets a result.
            t5_fsdp, dit_fsdp, use_usp: several GPUs, not in this version.
            t5_cpu: encode text on the CPU.
            device: overrides the choice of `default_device`.
            dtype: of the transformer's linear layers, `default_dtype` if None.
            vae_tiling: encode and decode in tiles, for little memory.
            cache_text: keep the text's projections while sampling.

        Raises:
            ValueError: incomplete checkpoint, or several GPUs asked for.
            CheckpointError: weights that do not fit.
        """
        if t5_fsdp or dit_fsdp or use_usp:
            raise ValueError(
                't5_fsdp, dit_fsdp and use_usp are not in this version: it '
                'runs on one device.')
        check_checkpoint(checkpoint_dir, config)
        folder = Path(checkpoint_dir)
        self.device = torch.device(device or default_device(device_id))
        self.config = config
        self.rank = rank
        self.t5_cpu = t5_cpu
        self.cache_text = cache_text
        self.num_train_timesteps = config.num_train_timesteps
        self.param_dtype = dtype or default_dtype(self.device)
        self.vae_stride = config.vae_stride
        self.patch_size = config.patch_size
        self.sample_neg_prompt = config.sample_neg_prompt
        with self.stage('load'):
            self.model = WanModel.from_pretrained(folder, self.param_dtype)
            self.text_encoder = T5EncoderModel(
                text_len=self.model.text_len,
                dtype=config.t5_dtype,
                device=torch.device('cpu'),
                checkpoint_path=find_weights(folder / config.t5_checkpoint),
                tokenizer_path=folder / config.t5_tokenizer)
            self.vae = WanVAE(
                vae_pth=find_weights(folder / config.vae_checkpoint),
                device=self.device, tiling=vae_tiling)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        r"""Log a stage and add its seconds to `stage_seconds[name]`."""
        log.info('%s ...', name)
        start = time.perf_counter()
        yield
        if torch.device(self.device).type == 'cuda':
            torch.cuda.synchronize(self.device)
        seconds = self.__dict__.setdefault('stage_seconds', {})
        took = time.perf_counter() - start
        seconds[name] = seconds.get(name, 0.) + took
        log.info('%s: %.1f s', name, took)

    @contextmanager
    def vae_stage(self, name: str) -> Iterator[None]:
        r"""A stage of the VAE, with a progress bar over its chunks."""
        with self.stage(name), progress(1, name) as bar:

            def update(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            self.vae.on_chunk = update
            try:
                yield
            finally:
                self.vae.on_chunk = None

    @contextmanager
    def on_device(self, module: nn.Module, offload: bool) -> Iterator[None]:
        r"""Have a module's weights on the device, and off it after if asked."""
        module.to(self.device)
        try:
            yield
        finally:
            kind = torch.device(self.device).type
            if offload and kind != 'cpu':
                module.cpu()
                gc.collect()
                if kind == 'cuda':
                    torch.cuda.empty_cache()

    def latent_shape(
        self, size: tuple[int, int], frame_num: int
    ) -> tuple[int, int, int, int]:
        r"""[C, T, h, w] of a video of `size` (width, height) pixels.

        Raises:
            ValueError: frame_num is not 4n + 1, or a side does not divide
                into whole tokens.
        """
        time_stride, *strides = self.vae_stride
        if frame_num < 1 or (frame_num - 1) % time_stride:
            raise ValueError(
                f'frame_num is {frame_num}, allowed are {time_stride}n + 1.')
        height, width = size[1], size[0]
        for side, stride, patch in zip(
                (height, width), strides, self.patch_size[1:], strict=True):
            if side < 1 or side % (stride * patch):
                raise ValueError(
                    f'size is {width}x{height}, both sides must be multiples '
                    f'of {stride * patch}.')
        return (
            self.vae.model.z_dim, (frame_num - 1) // time_stride + 1,
            height // strides[0], width // strides[1])

    def seq_len(self, shape: Sequence[int]) -> int:
        r"""Tokens of a latent [C, T, h, w], a multiple of sp_size."""
        tokens = math.prod(shape[1:]) // math.prod(self.patch_size)
        return math.ceil(tokens / self.sp_size) * self.sp_size

    def generator(self, seed: int) -> torch.Generator:
        r"""The one source of randomness; a negative seed draws one."""
        if seed < 0:
            seed = random.randint(0, sys.maxsize)
        return torch.Generator(device=self.device).manual_seed(seed)

    def noise(
        self, shape: Sequence[int], generator: torch.Generator
    ) -> torch.Tensor:
        r"""Standard normal numbers from the device's own generator."""
        return torch.randn(
            *shape, dtype=torch.float32, device=self.device,
            generator=generator)

    def encode_text(
        self, prompts: Sequence[str], offload_model: bool
    ) -> list[TextContext] | list[list[torch.Tensor]]:
        r"""One context for each prompt, on the device, to sample with."""
        where = torch.device('cpu') if self.t5_cpu else self.device
        with self.stage('encode text'), torch.no_grad():
            if self.t5_cpu:
                texts = [self.text_encoder([p], where) for p in prompts]
            else:
                with self.on_device(self.text_encoder.model, offload_model):
                    texts = [self.text_encoder([p], where) for p in prompts]
        kind = TextContext if self.cache_text else list
        return [kind(u.to(self.device) for u in text) for text in texts]

    def guided_velocity(
        self,
        context: Sequence[torch.Tensor],
        context_null: Sequence[torch.Tensor],
        guide_scale: float,
        seq_len: int,
        **conditions,
    ) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        r"""velocity(latent, t) with classifier-free guidance (2207.12598).

        At guide_scale 1 the negative prompt has no weight and is not run.
        `conditions` go to the model with either prompt.
        """

        def velocity(latent, t):
            t = t.reshape(1).to(self.device)
            cond = self.model(
                [latent], t=t, context=context, seq_len=seq_len,
                **conditions)[0]
            if guide_scale == 1:
                return cond
            uncond = self.model(
                [latent], t=t, context=context_null, seq_len=seq_len,
                **conditions)[0]
            return guided(cond, uncond, guide_scale)

        return velocity

    def sample(
        self,
        velocity: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        noise: torch.Tensor,
        solver: str,
        steps: int,
        shift: float,
        generator: torch.Generator,
        offload_model: bool,
    ) -> torch.Tensor:
        r"""Noise [C, T, h, w] to a clean latent, with a progress bar."""
        scheduler, timesteps = make_scheduler(
            solver, steps, shift, self.device, self.num_train_timesteps)
        with self.stage('denoise'), torch.no_grad(), \
                self.on_device(self.model, offload_model), \
                progress(len(timesteps), 'denoise') as bar:
            return denoise(
                velocity, noise, scheduler, timesteps, generator,
                callback=lambda *_: bar.update())

    def decode(self, latent: torch.Tensor) -> torch.Tensor | None:
        r"""A latent [C, T, h, w] to a video [3, F, H, W] in [-1, 1].

        Other ranks than 0 get None.
        """
        if self.rank != 0:
            return None
        with self.vae_stage('decode'), torch.no_grad():
            return self.vae.decode([latent])[0]
