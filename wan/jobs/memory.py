r"""How much memory a job takes, stage by stage, without reading weights.

The counts of activations are those of tensors that were seen alive at a time,
see benchmarks/memory.py, which holds them against what is measured.
"""
import math
from dataclasses import dataclass, replace
from functools import cached_property

import psutil
import torch
import torch.nn as nn

from ..distributed.groups import world_size
from ..modules.quantize import packed_size
from ..modules.streaming import LISTS
from ..modules.t5 import umt5_xxl
from ..modules.tiling import spans
from ..modules.vae import TILE
from ..runtime import DTYPES, PROFILES, Runtime
from ..utils.checkpoint import sidecar
from ..utils.sizes import T5_SIZES
from .task import Job

# Floats of a pixel while the VAE works, in units of its width: the features
# of four frames at full size, and what convolutions keep of earlier ones.
DECODING, ENCODING = 44, 37
# More of them where a convolution is the sum of 2D ones: float32 on the CPU.
SUMMED = 6
# The prompts whose keys and values are kept while sampling.
PROMPTS = 2


def activations(dim: int, ffn_dim: int, itemsize: int) -> int:
    r"""Bytes of a token within a block of the transformer, at the most.

    In self-attention the residual stream, its norm and their products in
    float32, and q, k, v and their rotations; or in the feed-forward layers.
    """
    return max((20 + 5 * itemsize) * dim, 20 * dim + itemsize * ffn_dim)


def decoding_bytes(
    width: int, size: tuple[int, int], frames: int, itemsize: int,
    tiling: bool = False, features: int = DECODING,
) -> int:
    r"""The features of a VAE of that width, and the video itself."""
    pixels = math.prod(size)
    if tiling:
        pixels = math.prod(8 * max(
            span.stop - span.start for span in spans(side // 8, *TILE))
            for side in size)
    if frames == 1:
        features /= 3
    return int(pixels * features * width * itemsize) + \
        12 * frames * math.prod(size)


@dataclass(frozen=True)
class Held:
    r"""Bytes of a network's weights on the device.

    Args:
        whole: of all of them.
        running: while it runs, which is less where blocks are streamed.
    """
    whole: int
    running: int

    @classmethod
    def of(
        cls, network: nn.Module, dtype: torch.dtype, runtime: Runtime,
        streams: bool = True,
    ) -> 'Held':
        r"""Of a network on the meta device.

        Args:
            dtype: it is loaded in.
            streams: whether its blocks are, if the runtime says so.
        """
        fp32 = set(getattr(network, '_keep_in_fp32_modules', None) or ())
        sizes: dict[str, int] = {}
        largest = 0
        for name, p in network.named_parameters():
            kept = torch.float32 if fp32 & set(name.split('.')) else dtype
            size = packed_size(name, p, runtime.quantize, kept)
            if size is None:
                size = p.numel() * kept.itemsize
            else:  # it is put back when it is used
                largest = max(largest, p.numel() * kept.itemsize)
            block = name.split('.')
            key = '.'.join(block[:2]) if block[0] in LISTS else ''
            sizes[key] = sizes.get(key, 0) + size
        whole = sum(sizes.values())
        if not (streams and runtime.offload_blocks):
            return cls(whole, whole + largest)
        rest = sizes.pop('', 0)
        lists = [max(size for key, size in sizes.items()
                     if key.startswith(f'{name}.'))
                 for name in LISTS if hasattr(network, name)]
        return cls(whole, rest + 2 * sum(lists) + largest)


@dataclass(frozen=True)
class Memory:
    r"""Bytes at the peak of what runs one after another, of a job."""
    job: Job

    @cached_property
    def text_encoder(self) -> int:
        r"""The weights that are on the device while prompts are encoded."""
        return self._text_encoder.running

    @property
    def image_encoder(self) -> int:
        r"""0 where the model sees no images."""
        file = self.job.checkpoint.clip_file
        return 0 if file is None else file.stat().st_size

    @property
    def transformer(self) -> int:
        r"""All its weights."""
        return self._transformer.whole

    @property
    def sampling(self) -> int:
        r"""The weights, a step's samples, and the reference they read."""
        work, runtime = self.job.work, self.job.runtime
        model, item = self.job.checkpoint.model, self._itemsize
        samples = work.batch if work.packed is None else work.packed
        tokens = int(samples * self.job.tokens) // runtime.sp_size
        layer = 2 * model.dim * item
        texts = PROMPTS * model.text_len * model.num_layers \
            if runtime.cache_text else 0
        return self._transformer.running // self._spread + \
            tokens * activations(model.dim, model.ffn_dim, item) + \
            layer * (work.bank_tokens * model.num_layers + texts)

    @property
    def vae(self) -> int:
        r"""Its weights; the file has them in float32."""
        return self.job.checkpoint.vae_file.stat().st_size * \
            self._vae_itemsize // 4

    @property
    def encoding(self) -> int:
        r"""The VAE, its features, and the video itself."""
        return self._coding(ENCODING)

    @property
    def decoding(self) -> int:
        r"""The same on the way back."""
        return self._coding(DECODING)

    @property
    def stages(self) -> dict[str, int]:
        r"""Of each stage alone what must be on the device."""
        sizes = {
            'text encoder': 0 if self.job.runtime.t5_cpu
            else self.text_encoder,
            'image encoder': self.image_encoder,
            'encoding': self.encoding
            if 'encode' in self.job.work.stages else 0,
            'sampling': self.sampling, 'decoding': self.decoding}
        return {name: size for name, size in sizes.items() if size}

    @property
    def peak(self) -> int:
        r"""Of the whole job: one stage, or with all weights beside it."""
        stages, runtime = self.stages, self.job.runtime
        if runtime.offload_model and runtime.torch_device.type != 'cpu':
            return max(stages.values())
        weights = {
            'text encoder': stages.get('text encoder', 0),
            'image encoder': self.image_encoder,
            'sampling': self._transformer.running}
        coding = {'encoding': self.vae, 'decoding': self.vae}
        return self.vae + sum(weights.values()) + max(
            size - {**weights, **coding}[name]
            for name, size in stages.items())

    def of_profile(self, name: str) -> 'Memory':
        r"""Of the same job by a profile, whatever was given."""
        job = self.job
        runtime = Runtime(
            device=job.runtime.device, dtype=job.runtime.dtype,
            profile=name).resolved()
        return Memory(replace(job, work=replace(
            job.work, settings=job.settings.updated(runtime))))

    def profiles(self) -> dict[str, int]:
        r"""The peak by every profile."""
        return {name: self.of_profile(name).peak for name in PROFILES}

    @cached_property
    def _transformer(self) -> Held:
        job = self.job
        return Held.of(
            job.checkpoint.model, job.runtime.torch_dtype, job.runtime)

    @cached_property
    def _text_encoder(self) -> Held:
        checkpoint, runtime = self.job.checkpoint, self.job.runtime
        network = umt5_xxl(device='meta', **sidecar(
            checkpoint.text_encoder_file, T5_SIZES))
        return Held.of(network, checkpoint.config.t5_dtype, runtime,
                       streams=not runtime.t5_cpu)

    def _coding(self, features: int) -> int:
        work, runtime = self.job.work, self.job.runtime
        width = sidecar(self.job.checkpoint.vae_file).get('dim', 96)
        summed = self._vae_itemsize == 4 and \
            runtime.torch_device.type == 'cpu'
        return self.vae + decoding_bytes(
            width, work.size, work.frame_num, self._vae_itemsize,
            runtime.vae_tiling, features + SUMMED * summed)

    @property
    def _spread(self) -> int:
        r"""Processes that share the transformer's weights."""
        runtime = self.job.runtime
        return world_size() // runtime.branch_parallel \
            if runtime.dit_fsdp else 1

    @property
    def _itemsize(self) -> int:
        return self.job.runtime.torch_dtype.itemsize

    @property
    def _vae_itemsize(self) -> int:
        return DTYPES[self.job.runtime.vae_dtype].itemsize


def free_memory(device: torch.device) -> int:
    r"""Bytes that a device has free; a GPU that shares the host's, of it."""
    if device.type == 'cuda':
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
