r"""An estimate of what a run needs, without reading weights."""
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from easydict import EasyDict

from ..modules.model import WanModel
from ..utils.checkpoint import find_weights, sidecar


@dataclass(frozen=True)
class Plan:
    r"""Shapes in elements, memory in bytes."""
    model: WanModel
    latent: tuple[int, int, int, int]
    video: tuple[int, int, int, int]
    text_bytes: int
    vae_bytes: int
    vae_width: int
    steps: int
    evaluations: int
    dtype: torch.dtype
    device: torch.device
    save_file: str

    @classmethod
    def of(
        cls,
        folder: str | Path,
        config: EasyDict,
        size: tuple[int, int],
        frame_num: int,
        steps: int,
        dtype: torch.dtype,
        device: torch.device,
        save_file: str,
        evaluations: int,
    ) -> 'Plan':
        r"""The plan of sampling `frame_num` frames of `size` (w, h)."""
        folder = Path(folder)
        model = WanModel.empty(folder)
        t, h, w = config.vae_stride
        vae = find_weights(folder / config.vae_checkpoint)
        return cls(
            model=model,
            latent=(model.out_dim, (frame_num - 1) // t + 1, size[1] // h,
                    size[0] // w),
            video=(3, frame_num, size[1], size[0]),
            text_bytes=find_weights(
                folder / config.t5_checkpoint).stat().st_size,
            vae_bytes=vae.stat().st_size,
            vae_width=sidecar(vae).get('dim', 96),
            steps=steps,
            evaluations=evaluations,
            dtype=dtype,
            device=device,
            save_file=save_file)

    @property
    def tokens(self) -> int:
        return math.prod(self.latent[1:]) // math.prod(self.model.patch_size)

    @property
    def model_bytes(self) -> int:
        return self.dtype.itemsize * sum(
            p.numel() for p in self.model.parameters())

    @property
    def sampling_bytes(self) -> int:
        r"""The residual stream, q, k, v and the FFN's hidden layer."""
        per_token = 4 * 6 * self.model.dim + \
            2 * self.dtype.itemsize * self.model.ffn_dim
        return self.tokens * per_token

    @property
    def decoding_bytes(self) -> int:
        r"""Four frames of features at full size, a few alive at a time, and
        the video itself."""
        pixels = math.prod(self.video[2:])
        return 4 * pixels * (6 * 4 * self.vae_width + 3 * self.video[1])

    def __str__(self) -> str:
        def gib(size):
            return f'{size / 2**30:.2f} GiB'

        stages = {
            'encode text': self.text_bytes,
            'denoise': self.model_bytes + self.sampling_bytes,
            'decode': self.vae_bytes + self.decoding_bytes,
        }
        rows = [
            f'device       {self.device}, {self.dtype}'.replace('torch.', ''),
            f'transformer  {self.model.num_layers} layers of '
            f'{self.model.dim}, {gib(self.model_bytes)}',
            f'text encoder {gib(self.text_bytes)}',
            f'VAE          {gib(self.vae_bytes)}',
            f'video        {"x".join(map(str, self.video))}',
            f'latent       {"x".join(map(str, self.latent))}, '
            f'{self.tokens} tokens',
            'stages       load, encode text, denoise '
            f'({self.steps} steps x {self.evaluations} evaluations), decode, '
            'save',
            'peak memory  ' + ', '.join(
                f'{name} {gib(size)}' for name, size in stages.items())
            + ' (estimates; offloading keeps one stage at a time)',
            f'output       {self.save_file}',
        ]
        return '\n'.join(rows)
