r"""Given frames, as a model of image to video is told of them."""
from collections.abc import Mapping, Sequence

import torch

from .pipeline import WanPipeline
from .utils.progress import Progress


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
