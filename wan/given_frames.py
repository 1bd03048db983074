r"""Given frames: the first, or first and last, and a video between them."""
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from easydict import EasyDict
from PIL import Image

from .pipeline import WanPipeline
from .runtime import Runtime
from .utils.image import as_clip
from .utils.progress import Progress


def frame_size(
    image_size: tuple[int, int], max_area: int, config: EasyDict
) -> tuple[int, int]:
    r"""(width, height) of a video that begins with an image.

    Both are multiples of what a token covers, and of the image's aspect but
    for that rounding.

    Args:
        image_size: (width, height) of the image.
        max_area: pixels of a frame at most.
        config: an entry of `WAN_CONFIGS`.
    """
    aspect = image_size[1] / image_size[0]
    rows, columns = (stride * patch for stride, patch in zip(
        config.vae_stride[1:], config.patch_size[1:], strict=True))
    return (int(math.sqrt(max_area / aspect) // columns) * columns,
            int(math.sqrt(max_area * aspect) // rows) * rows)


def frame_inputs(
    pipe: WanPipeline,
    frames: Mapping[int, torch.Tensor],
    frame_num: int,
    images: Sequence[torch.Tensor],
    offload_model: bool,
    progress: Progress,
) -> dict[str, torch.Tensor]:
    r"""What `frame_condition` takes, of some frames of a video.

    Args:
        frames: by their number, [3, H, W] in [-1, 1]; all others are grey.
        frame_num: of the video, 4n + 1.
        images: what CLIP sees, [3, h, w] in [-1, 1], of any sizes.
        offload_model: keep CLIP off the device afterwards.
    """
    clip_fea = pipe.encode_images(images, offload_model, progress)
    size = next(iter(frames.values())).shape[1:]
    video = torch.zeros(3, frame_num, *size)
    for number, frame in frames.items():
        video[:, number] = frame
    latent = pipe.encode_video(video, progress)
    mask = given_mask(list(frames), frame_num, latent.shape[1:])
    return {'clip_fea': clip_fea, 'y': torch.cat([mask.to(latent), latent])}


def given_mask(
    given: Sequence[int], frame_num: int, grid: Sequence[int]
) -> torch.Tensor:
    r"""[4, T, h, w], for each latent cell which of its frames are given.

    The first latent frame is frame 0, counted four times; any other one is
    four frames.

    Args:
        given: numbers of the frames.
        frame_num: of the video, 4T - 3.
        grid: (T, h, w) of the latent.
    """
    known = torch.zeros(frame_num)
    known[list(given)] = 1
    known = torch.cat([known[:1].expand(3), known]).view(-1, 4).T
    return known[:, :, None, None].expand(-1, -1, *grid[1:])


class FramePipeline(WanPipeline):
    r"""A pipeline whose model is shown some frames of the video."""

    # Of the checkpoint's config.json.
    model_type: str

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
        init_on_cpu: bool = True,
        *,
        runtime: Runtime | None = None,
    ):
        r"""Load a checkpoint folder, see `WanPipeline`.

        Args:
            init_on_cpu: leave the transformer on the CPU until it runs.
        """
        super().__init__(
            config, checkpoint_dir, device_id, rank, t5_fsdp, dit_fsdp,
            use_usp, t5_cpu, runtime=runtime)
        if not init_on_cpu and self.team.moves(self.model):
            self.model.to(self.device)

    def _assemble(self, parts, *rest):
        if parts.model.model_type != self.model_type:
            raise ValueError(
                f'{type(self).__name__} needs a model of type '
                f'{self.model_type}, this one is of type '
                f'{parts.model.model_type}.')
        super()._assemble(parts, *rest)

    def _between(
        self,
        images: Mapping[int, Image.Image],
        prompts: Mapping[str, str],
        max_area: int,
        frame_num: int,
        seed: int,
        offload_model: bool,
        progress: Progress | None,
        **sampling,
    ) -> torch.Tensor | None:
        r"""A video with some of its frames given.

        Args:
            images: by the frame's number, the first among them, all of one
                size.
            prompts: 'cond' and 'uncond'.
            max_area: see `frame_size`.
            frame_num, seed, offload_model, progress: see `generate`.
            sampling: of `sample`.
        """
        progress = progress or Progress()
        size = frame_size(images[0].size, max_area, self.config)
        shape = self.latent_shape(size, frame_num)
        noise = self.noise(shape, self.generator(seed))
        embeddings = self.encode_text(prompts, offload_model, progress)
        pixels = {n: as_clip(image)[:, 0] for n, image in images.items()}
        frames = {
            n: F.interpolate(image[None], size[::-1], mode='bicubic')[0]
            for n, image in pixels.items()}
        given = frame_inputs(self, frames, frame_num, list(pixels.values()),
                             offload_model, progress)
        latent = self.sample(
            embeddings, noise=noise, offload_model=offload_model,
            progress=progress, **sampling, **given)
        return self.decode(latent, progress)
