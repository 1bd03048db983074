r"""What a latent shows, without decoding it: colours as a linear map of it.

Every cell of a latent stands for 8 x 8 pixels. Their mean colour is almost
linear in its channels, so least squares over a few clips give a map that
costs nothing to apply. That of the embedded model's VAE lies beside its
weights; that of any other is fitted at first use.

    python -m wan.page.glimpse CHECKPOINT [VIDEO ...]

writes it beside the weights; it is fitted to the videos too. Ours was made
with checkpoints/tiny examples/template.mp4.
"""
import json
import logging
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from PIL import Image

from ..jobs.checkpoint import Checkpoint
from ..pipeline import WanPipeline
from ..tasks import EDIT_TASK
from ..utils.checkpoint import fingerprint
from ..utils.image import to_bytes, unit_range
from ..utils.plain_files import read_json
from ..utils.progress import Progress
from ..utils.record import atomic_write
from ..utils.video import read_video

log = logging.getLogger(__name__)

STRIDE, SIDE, FRAMES = 8, 96, 5
CLIPS, SEED = 24, 0
VIDEO_SIZE, VIDEO_FRAMES = (128, 128), 17
# Keeps weights of channels that say nothing of colour near 0.
RIDGE = 1e-4
# Types of a checkpoint, any of which the command takes.
TYPES = ('t2v', 'i2v', 'flf2v', 'vace')


class Encoder(Protocol):
    r"""What encodes clips [3, F, H, W] in [-1, 1] to latents [C, T, h, w]."""

    def __call__(self, clip: torch.Tensor) -> torch.Tensor: ...


@dataclass(frozen=True)
class Glimpse:
    r"""A linear map from latents to colours, fitted to a VAE.

    Args:
        weight: [3, C].
        bias: [3].
    """
    weight: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def of(
        cls, checkpoint: Checkpoint, pipe: WanPipeline, folder: str | Path
    ) -> 'Glimpse':
        r"""The map of a checkpoint's VAE: beside its weights, in a folder, or
        fitted now and kept there.

        Args:
            pipe: of the checkpoint, loaded.
        """
        weights = checkpoint.vae_file
        key = fingerprint([weights])
        kept = Path(folder, f'glimpse-{key[:16]}.json')
        found = cls.read(beside(weights), key) or cls.read(kept, key)
        if found is None:
            log.info('Fitting a preview to %s, once.', weights.name)
            found = cls.fitted(partial(
                pipe.encode_video, progress=Progress()))
            found.write(kept, key)
        return found

    @classmethod
    def fitted(
        cls, encode: Encoder, clips: Iterable[torch.Tensor] | None = None
    ) -> 'Glimpse':
        r"""By least squares over clips, those of `made_clips` if not given.

        Minimises sum |W z + b - rgb|^2 + r n |W|^2 over all n cells, where
        rgb is the mean colour of a cell's pixels, and r is `RIDGE`.
        """
        pairs = [(encode(clip), clip) for clip in clips or made_clips()]
        z = torch.cat([
            latent.flatten(1).cpu() for latent, _ in pairs], 1).double()
        rgb = torch.cat([
            cell_colours(clip).flatten(1) for _, clip in pairs], 1).double()
        middle, ground = z.mean(1, True), rgb.mean(1, True)
        around, target = z - middle, rgb - ground
        square = around @ around.T + RIDGE * z.size(1) * torch.eye(
            len(z), dtype=z.dtype)
        weight = torch.linalg.solve(square, around @ target.T).T
        return cls(weight.float(), (ground - weight @ middle)[:, 0].float())

    @classmethod
    def read(cls, path: str | Path, key: str) -> 'Glimpse | None':
        r"""What `write` wrote for the same VAE; None if that is not there."""
        try:
            told = read_json(path)
            weight = torch.tensor(told['weight'], dtype=torch.float32)
            bias = torch.tensor(told['bias'], dtype=torch.float32)
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            return None
        good = told.get('vae') == key and weight.ndim == 2 and \
            len(weight) == 3 and bias.shape == (3,)
        return cls(weight, bias) if good else None

    def write(self, path: str | Path, key: str) -> None:
        r"""Keep it for the VAE of a fingerprint."""
        text = json.dumps({
            'vae': key, **{name: [_rounded(row) for row in values.tolist()]
                           for name, values in vars(self).items()}}, indent=1)
        with atomic_write(path) as temporary:
            temporary.write_text(text + '\n', encoding='utf-8')

    def colours(self, latent: torch.Tensor) -> torch.Tensor:
        r"""[C, ...] to RGB [3, ...] in [-1, 1], on the CPU."""
        z = latent.detach().float().cpu()
        flat = self.weight @ z.flatten(1) + self.bias[:, None]
        return flat.clamp(-1, 1).unflatten(1, z.shape[1:])

    def picture(self, latent: torch.Tensor) -> Image.Image:
        r"""The middle of a latent [C, T, h, w], eight times as large."""
        frame = self.colours(latent[:, latent.size(1) // 2])
        small = Image.fromarray(to_bytes(unit_range(frame, (-1, 1)), True))
        return small.resize(
            (STRIDE * small.width, STRIDE * small.height),
            Image.Resampling.BICUBIC)


def _rounded(row: float | list[float]) -> float | list[float]:
    return round(row, 5) if isinstance(row, float) else \
        [round(value, 5) for value in row]


def beside(weights: Path) -> Path:
    r"""The file of a map that comes with a checkpoint."""
    return weights.with_name(f'{weights.stem}_glimpse.json')


def cell_colours(clip: torch.Tensor) -> torch.Tensor:
    r"""Mean colours [3, T, h, w] of what each cell of the latent of a clip
    [3, 4n + 1, 8 h, 8 w] stands for: the first frame, then four at a time."""
    small = F.avg_pool2d(clip.transpose(0, 1), STRIDE).transpose(0, 1)
    later = small[:, 1:].unflatten(1, (-1, 4)).mean(2)
    return torch.cat([small[:, :1], later], 1)


def made_clips(
    count: int = CLIPS, seed: int = SEED
) -> Iterator[torch.Tensor]:
    r"""Clips [3, F, H, W] in [-1, 1] of all colours: plain ones, soft grounds,
    and shapes that move before a ground, some with grain."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator) * 2 - 1

    for i in range(count):
        if i % 3 == 0:
            yield drawn(3, 1, 1, 1).expand(3, FRAMES, SIDE, SIDE).clone()
            continue
        ground = F.interpolate(
            drawn(1, 3, 4, 4), (SIDE, SIDE), mode='bicubic')[0].clamp(-1, 1)
        clip = ground[:, None].repeat(1, FRAMES, 1, 1)
        for colour in drawn(4, 3):
            left, top, step = ((drawn(3) + 1) / 2 * torch.tensor(
                [SIDE - 40, SIDE - 40, 4])).int().tolist()
            for t in range(FRAMES):
                clip[:, t, top:top + 32, left + t * step:left + 32 + t * step] \
                    = colour[:, None, None]
        grain = 0.1 * (i % 3 - 1) * drawn(*clip.shape)
        yield (clip + grain).clamp(-1, 1)


def main(folder: str, *videos: str) -> None:
    r"""Fit a map to a checkpoint's VAE, and write it beside the weights."""
    checkpoint = Checkpoint.read(folder, EDIT_TASK, TYPES)
    pipe = WanPipeline(checkpoint.config, checkpoint.folder)
    weights = checkpoint.vae_file
    Glimpse.fitted(
        partial(pipe.encode_video, progress=Progress()),
        (*made_clips(), *(read_video(path, VIDEO_SIZE, max_frames=VIDEO_FRAMES)
                          for path in videos)),
    ).write(beside(weights), fingerprint([weights]))


if __name__ == '__main__':
    main(*sys.argv[1:])
