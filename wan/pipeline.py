r"""What every task does: load the parts, encode text, sample, decode."""
import gc
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn as nn
from easydict import EasyDict

from .conditioning import CONDITIONERS, Condition
from .modules.clip import CLIPModel
from .modules.kinds import model_class
from .modules.model import WanModel
from .modules.quantize import packing
from .modules.streaming import compile_blocks, stream_blocks
from .modules.t5 import T5EncoderModel
from .modules.vae import WanVAE
from .runtime import Runtime
from .samplers import denoise, make_scheduler
from .step_cache import NO_CACHE, StepCacheConfig
from .team import ALONE, Alone
from .utils import disk
from .utils.checkpoint import check_checkpoint, find_weights
from .utils.progress import Progress
from .velocity import Denoiser, classifier_free
from .windows import OFF, WindowConfig, in_windows


def drawn(seed: int) -> int:
    r"""The seed, or one that is drawn in place of a negative one."""
    return random.randint(0, sys.maxsize) if seed < 0 else seed


class Parts(NamedTuple):
    r"""The networks of a checkpoint; CLIP where it sees images.

    Of several processes the first may alone have the text encoder.
    """
    model: WanModel
    text_encoder: T5EncoderModel | None
    vae: WanVAE
    clip: CLIPModel | None = None


def load_parts(
    config: EasyDict,
    folder: str | Path,
    runtime: Runtime,
    team: Alone = ALONE,
) -> Parts:
    r"""The networks in a checkpoint folder, prepared as the runtime says.

    What encodes pixels is on the device unless it is to leave it, the others
    are on the CPU.

    Raises:
        ValueError: incomplete checkpoint.
        CheckpointError: weights that do not fit.
    """
    check_checkpoint(folder, config)
    folder = Path(folder)
    model = team.load_model(model_class(folder), folder, runtime)
    there = torch.device('cpu') if runtime.offload_model \
        else runtime.torch_device
    if model.needs_image and 'clip_checkpoint' not in config:
        raise ValueError(
            f'Checkpoint {folder} is of type {model.model_type}, which needs '
            f'a config with CLIP; {config.__name__!r} has none.')
    text_encoder = team.encoder(lambda spread: T5EncoderModel(
        text_len=model.text_len, dtype=config.t5_dtype,
        device=torch.device('cpu'),
        checkpoint_path=find_weights(folder / config.t5_checkpoint),
        tokenizer_path=folder / config.t5_tokenizer, shard_fn=spread,
        pack=packing(runtime.quantize, config.t5_dtype)), runtime)
    if runtime.compile:
        compile_blocks(model)
    if runtime.offload_blocks:
        stream_blocks(model, runtime.torch_device)
        if text_encoder is not None and not runtime.t5_cpu:
            stream_blocks(text_encoder.model, runtime.torch_device)
    return Parts(
        model, text_encoder,
        WanVAE(
            vae_pth=find_weights(folder / config.vae_checkpoint),
            dtype=runtime.torch_vae_dtype, device=there,
            tiling=runtime.vae_tiling, share=team.tiles),
        CLIPModel(
            dtype=config.clip_dtype, device=there,
            checkpoint_path=folder / config.clip_checkpoint)
        if model.needs_image else None)


class WanPipeline:
    r"""The parts of a checkpoint and the steps all tasks share.

    It holds what it was made of and nothing of a run.
    """

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
        runtime: Runtime | None = None,
    ):
        r"""Load a checkpoint folder.

        Args:
            config: an entry of `WAN_CONFIGS`; the transformer's size comes
                from the folder's own config.json.
            checkpoint_dir: an official folder, or a small one like it.
            device_id: number of the CUDA device.
            rank: of this process; only rank 0 gets a result. Where there are
                several, the process group is asked.
            t5_fsdp, dit_fsdp: spread the weights of the text encoder, and of
                the transformer, over all processes.
            use_usp: all processes share a video's tokens.
            t5_cpu: encode text on the CPU.
            runtime: the machine, in place of the arguments before it.

        Raises:
            ValueError: incomplete checkpoint, processes that are not there or
                do not fit, or a device that is not there.
            CheckpointError: weights that do not fit.
        """
        if runtime is None:
            sizes = 'auto' if use_usp else 1
            runtime = Runtime(
                device=f'cuda:{device_id}' if device_id else None,
                t5_cpu=t5_cpu, t5_fsdp=t5_fsdp, dit_fsdp=dit_fsdp,
                ulysses_size=sizes, ring_size=sizes)
        runtime, team = runtime.resolved(), ALONE
        if runtime.parallel:
            from .distributed.team import team_of
            heads = model_class(checkpoint_dir).empty(checkpoint_dir).num_heads
            team = team_of(runtime, heads)
            runtime, rank = team.arranged(runtime), team.rank
        self._assemble(load_parts(config, checkpoint_dir, runtime, team),
                       config, runtime, rank, team)

    @classmethod
    def of(
        cls,
        parts: Parts,
        config: EasyDict,
        runtime: Runtime | None = None,
        rank: int = 0,
    ) -> 'WanPipeline':
        r"""A pipeline of parts that are loaded, see `load_parts`.

        Args:
            runtime: the machine they are on, resolved here.
        """
        pipe = cls.__new__(cls)
        pipe._assemble(parts, config, (runtime or Runtime()).resolved(), rank)
        return pipe

    def _assemble(self, parts, config, runtime, rank, team=ALONE):
        self.team = team
        self.model, self.text_encoder, self.vae, self.clip = parts
        self.config = config
        self.runtime = runtime
        self.rank = rank
        self.device = runtime.torch_device
        self.num_train_timesteps = config.num_train_timesteps
        self.param_dtype = runtime.torch_dtype
        self.vae_stride = config.vae_stride
        self.patch_size = config.patch_size
        self.sample_neg_prompt = config.sample_neg_prompt

    @property
    def denoiser(self) -> Denoiser:
        r"""The transformer, called as the runtime says."""
        return Denoiser(self.model, self.num_train_timesteps,
                        self.runtime.attend, self.runtime.sp_size,
                        self.team.share)

    @contextmanager
    def on_device(
        self,
        module: nn.Module,
        offload: bool,
        device: torch.device | None = None,
    ) -> Iterator[None]:
        r"""Have a module's weights on the device, and off it after if asked.

        `device` is another one than the pipeline's.
        """
        if not self.team.moves(module):
            yield
            return
        module.to(device or self.device)
        try:
            yield
        finally:
            if offload and self.device.type != 'cpu':
                module.cpu()
                gc.collect()
                if self.device.type == 'cuda':
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

    def generator(self, seed: int) -> torch.Generator:
        r"""The one source of randomness; a negative seed draws one."""
        return torch.Generator(device=self.device).manual_seed(
            self.drawn(seed))

    def drawn(self, seed: int) -> int:
        r"""`drawn`, the same in all processes."""
        return self.team.first(lambda: drawn(seed))

    def noise(
        self, shape: Sequence[int], generator: torch.Generator
    ) -> torch.Tensor:
        r"""Standard normal numbers from the device's own generator."""
        return torch.randn(
            *shape, dtype=torch.float32, device=self.device,
            generator=generator)

    def encode_text(
        self,
        prompts: Mapping[str, str],
        offload_model: bool,
        progress: Progress,
    ) -> dict[str, torch.Tensor]:
        r"""Prompts by name to their embeddings [L, C], on the device."""
        with progress.stage('encode text', 1, self.device), torch.no_grad():
            if self.runtime.t5_fsdp:  # it takes all processes
                found = self._embeddings(prompts, offload_model)
            else:
                found = self.team.first(
                    lambda: self._embeddings(prompts, offload_model))
            return {name: u.to(self.device) for name, u in found.items()}

    def _embeddings(self, prompts, offload_model):
        r"""As of `encode_text`, on the CPU."""
        on_cpu = self.runtime.t5_cpu
        where = torch.device('cpu') if on_cpu else self.device
        with self.on_device(
                self.text_encoder.model, offload_model and not on_cpu, where):
            return {name: self.text_encoder([prompt], where)[0].cpu()
                    for name, prompt in prompts.items()}

    def encode_images(
        self,
        images: Sequence[torch.Tensor],
        offload_model: bool,
        progress: Progress,
    ) -> torch.Tensor:
        r"""Images [3, H, W] in [-1, 1] to CLIP tokens [n, 257, 1280]."""
        with progress.stage('encode image', 1, self.device), \
                torch.no_grad(), self.on_device(
                    self.clip.model, offload_model):
            return self.clip.visual(
                [image[:, None].to(self.device) for image in images])

    def condition(self, embedding: torch.Tensor, **given) -> Condition:
        r"""A prompt, and what else the checkpoint's type asks for.

        Args:
            embedding: [L, C]; the transformer must be on the device.
            given: see the functions of `CONDITIONERS`.
        """
        return CONDITIONERS[self.model.model_type](
            self.model, embedding, self.runtime.cache_text, **given)

    def sample(
        self,
        embeddings: Mapping[str, torch.Tensor],
        guide_scale: float,
        noise: torch.Tensor,
        solver: str,
        steps: int,
        shift: float,
        offload_model: bool,
        progress: Progress,
        windows: WindowConfig = OFF,
        step_cache: StepCacheConfig = NO_CACHE,
        **given,
    ) -> torch.Tensor:
        r"""Noise [C, T, h, w] to a clean latent.

        Args:
            embeddings: [L, C] of the prompts 'cond' and 'uncond'.
            guide_scale: classifier-free guidance scale; 1 is without.
            solver, steps, shift: see `make_scheduler`.
            windows: of a long clip, to models that are given text alone.
            step_cache: which steps are evaluated.
            given: see `condition`; goes to the model with either prompt.
        """
        scheduler, timesteps = make_scheduler(
            solver, steps, shift, self.device, self.num_train_timesteps)
        with progress.stage('denoise', steps, self.device) as step, \
                torch.no_grad(), self.on_device(self.model, offload_model):
            v = in_windows(self.denoiser, {
                name: self.condition(embedding, **given)
                for name, embedding in embeddings.items()
            }, windows.of(noise.size(1)))
            v = step_cache.of(
                self.team.spread(v), self.denoiser, 'cond', timesteps[-1])
            return denoise(
                classifier_free(v, guide_scale), noise,
                scheduler, timesteps,
                callback=lambda i, n, x: step(i + 1, n, x))

    def encode_video(
        self, video: torch.Tensor, progress: Progress
    ) -> torch.Tensor:
        r"""[3, F, H, W] in [-1, 1] to a latent [C, T, h, w]."""
        # A frame, then as many at a time as make one of the latent: a long
        # clip lies on the disk, and does not fit the device.
        count, each = video.size(1), self.vae_stride[0]
        total = (count - 1) // each + 1

        def chunks():
            for i in range(total):
                yield video[:, max(0, each * (i - 1) + 1):each * i + 1].to(
                    self.device)
                step(i + 1, total)

        with progress.stage('encode', total, self.device) as step, \
                torch.no_grad(), self.on_device(
                    self.vae.model, self.runtime.offload_model):
            return self.vae.encode_chunks(chunks())

    def decode(
        self, latent: torch.Tensor, progress: Progress
    ) -> torch.Tensor | None:
        r"""A latent [C, T, h, w] to a video [3, F, H, W] in [-1, 1], on the
        CPU; a long one lies on the disk.

        Other ranks than 0 get None.
        """
        if self.rank != 0 and self.team.tiles is None:
            return None
        frames, height, width = latent.shape[1:]
        time, *strides = self.vae_stride
        video = disk.empty((
            3, time * (frames - 1) + 1, height * strides[0],
            width * strides[1]))
        at = 0
        with progress.stage('decode', frames, self.device) as step, \
                torch.no_grad(), self.on_device(
                    self.vae.model, self.runtime.offload_model):
            for i, chunk in enumerate(self.vae.decode_chunks(latent)):
                video[:, at:at + chunk.size(1)] = chunk.cpu()
                at += chunk.size(1)
                step(i + 1, frames)
        return video if self.rank == 0 else None
