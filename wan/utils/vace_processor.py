r"""What VACE is given: chosen frames of a video, a mask, images."""
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from wan.utils.mask_file import is_still, read_mask
from wan.utils.vace_frames import (
    Choice,
    cells_in,
    check_mask,
    frame_count,
    shaped,
)
from wan.utils.vace_images import VaceImageProcessor, fitted_reference
from wan.utils.video import probe, read_video

__all__ = ['VaceImageProcessor', 'VaceVideoProcessor', 'prepare_source']

# Bytes of one video that are held at a time before they are resized.
GROUP_BYTES = 2**28


class VaceVideoProcessor:
    r"""Chooses and reads frames of a video."""

    def __init__(
        self,
        downsample: tuple[int, int, int],
        min_area: int,
        max_area: int,
        min_fps: float,
        max_fps: float,
        zero_start: bool,
        seq_len: int,
        keep_last: bool,
    ):
        r"""See `choose`.

        Args:
            downsample: frames, rows and columns of one token.
            min_area, max_area: pixels of a frame; they must be the same.
            min_fps, max_fps: rate without `keep_last`, again the same; a
                slower video keeps its own.
            zero_start: begin with the first frame; it must be true.
            seq_len: most tokens of a result.
            keep_last: spread the frames from the first to the last, whatever
                the rate.

        Raises:
            ValueError: a range, or a start that is drawn.
        """
        if not zero_start or min_area != max_area or min_fps != max_fps:
            raise ValueError(
                f'zero_start is {zero_start}, areas are {min_area} and '
                f'{max_area}, rates {min_fps} and {max_fps}: zero_start must '
                f'be true, and nothing is drawn from ranges.')
        self.downsample = downsample
        self.min_area = self.max_area = max_area
        self.min_fps = self.max_fps = max_fps
        self.zero_start = zero_start
        self.seq_len = seq_len
        self.keep_last = keep_last

    def set_area(self, area: int) -> None:
        r"""Have frames of about so many pixels."""
        self.min_area = self.max_area = area

    def set_seq_len(self, seq_len: int) -> None:
        r"""Have at most so many tokens."""
        self.seq_len = seq_len

    def tokens(self, height: int, width: int) -> int:
        r"""Of one latent frame of a video of this shape, about.

        Raises:
            ValueError: it is smaller than a token.
        """
        cell = self.downsample[1:]
        most = min(self.seq_len, self.max_area // math.prod(cell))
        return cells_in(height, width, most, cell)

    def choose(
        self,
        count: int,
        fps: float,
        height: int,
        width: int,
        crop_box: tuple[int, int, int, int] | None = None,
    ) -> Choice:
        r"""What to read of a video: its shape, 4n + 1 frames.

        Args:
            count, fps, height, width: of the video.
            crop_box: (x1, x2, y1, y2), only this part of it.

        Raises:
            ValueError: its frames are smaller than a token.
        """
        x1, x2, y1, y2 = box = crop_box or (0, width, 0, height)
        height, width = y2 - y1, x2 - x1
        time, *cell = self.downsample
        tokens = self.tokens(height, width)
        rate = fps if self.keep_last else min(fps, self.max_fps)
        most = count if self.keep_last else max(1, int(count / fps * rate))
        latent = min((most - 1) // time + 1, self.seq_len // tokens)
        taken = (latent - 1) * time + 1
        end = (count - 0.5) / fps if self.keep_last else taken / rate
        places = np.linspace(0, end, taken) * fps
        ids = np.minimum(np.floor(places + 1e-4), count - 1).astype(int)
        return Choice(
            tuple(ids.tolist()), box, *shaped(height, width, tokens, cell),
            taken / end if self.keep_last else rate, count)

    def plan(
        self,
        data_key: str,
        data_key2: str | None = None,
        crop_box: tuple[int, int, int, int] | None = None,
    ) -> Choice:
        r"""What to read of a video file, and of a mask that belongs to it.

        Args:
            data_key: the video.
            data_key2: its mask, a video or a picture.
            crop_box: see `choose`.

        Raises:
            ValueError: an unreadable file, too small a video, or a mask of
                another shape or length.
        """
        info = probe(data_key)
        count = frame_count(data_key)
        if data_key2 is not None:
            check_mask(data_key, data_key2, count)
        try:
            return self.choose(
                count, info.fps, info.height, info.width, crop_box)
        except ValueError as error:
            raise ValueError(f'{data_key}: {error}.') from error

    def read(
        self, data_key: str, choice: Choice, ground: str = 'white'
    ) -> torch.Tensor:
        r"""The chosen frames of a video, [3, F, oh, ow] in [-1, 1].

        Args:
            ground: see `read_video`.

        Raises:
            ValueError: as of `read_video`.
        """
        info, (x1, x2, y1, y2) = probe(data_key), choice.box
        size = max(1, GROUP_BYTES // (3 * info.width * info.height))
        parts = []
        for first in range(0, len(choice.frame_ids), size):
            ids = choice.frame_ids[first:first + size]
            clip = read_video(data_key, ground=ground, only=ids)
            stored = clip.add_(1).mul_(127.5).round_().to(torch.uint8)
            parts.append(self.resize_crop(
                stored[:, :, y1:y2, x1:x2].permute(1, 2, 3, 0), choice.oh,
                choice.ow))
        frames = torch.cat(parts, dim=1)
        if frames.size(1) != len(choice.frame_ids):
            raise ValueError(
                f'{data_key} has no frame {choice.frame_ids[-1]}, which is '
                f'needed.')
        return frames

    def read_mask(self, data_key: str, choice: Choice) -> torch.Tensor:
        r"""A mask, [3, F, oh, ow] in [-1, 1]; a picture is of all frames."""
        if not is_still(data_key):
            return self.read(data_key, choice, 'black')
        mask = read_mask(data_key, (choice.ow, choice.oh), 1, 1) * 2 - 1
        return mask.expand(3, len(choice.frame_ids), -1, -1)

    def load_video(
        self,
        data_key: str,
        crop_box: tuple[int, int, int, int] | None = None,
    ) -> tuple[torch.Tensor, tuple[int, ...], tuple[int, int], float]:
        r"""([3, F, H, W] in [-1, 1], frame numbers, (H, W), rate)."""
        choice = self.plan(data_key, None, crop_box)
        return (self.read(data_key, choice), choice.frame_ids,
                (choice.oh, choice.ow), choice.fps)

    def load_video_pair(
        self,
        data_key: str,
        data_key2: str,
        crop_box: tuple[int, int, int, int] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[int, ...], tuple[int, int],
               float]:
        r"""A video, its mask, and what `load_video` gives beside them."""
        choice = self.plan(data_key, data_key2, crop_box)
        return (self.read(data_key, choice),
                self.read_mask(data_key2, choice), choice.frame_ids,
                (choice.oh, choice.ow), choice.fps)

    @staticmethod
    def resize_crop(video: torch.Tensor, oh: int, ow: int) -> torch.Tensor:
        r"""uint8 [F, H, W, C] to [C, F, oh, ow] in [-1, 1], evenly cropped."""
        height, width = video.shape[1:3]
        frames = video.permute(0, 3, 1, 2)
        scale = max(ow / width, oh / height)
        inner = round(scale * height), round(scale * width)
        if inner != (height, width):
            frames = F.interpolate(
                frames, inner, mode='bicubic', antialias=True)
        top, left = (inner[0] - oh) // 2, (inner[1] - ow) // 2
        frames = frames[:, :, top:top + oh, left:left + ow]
        return frames.transpose(0, 1).float().div_(127.5).sub_(1)


def prepare_source(
    src_video: Sequence[torch.Tensor | None],
    src_mask: Sequence[torch.Tensor | None],
    src_ref_images: Sequence[Sequence[torch.Tensor] | None],
    num_frames: int,
    image_size: tuple[int, int],
    device: torch.device | str,
) -> tuple[list, list, list]:
    r"""What `WanVace.generate` takes; what is given stays as it was.

    Args:
        src_video: [3, F, H, W] in [-1, 1] each; None is grey.
        src_mask: [C, F, H, W] in [-1, 1], 1 where something new is to be
            made, of which the first channel counts; None is everywhere.
        src_ref_images: of each video, pictures [3, 1, h, w] in [-1, 1].
        num_frames: of a grey video.
        image_size: (height, width) of a grey video.
        device: of what is returned.

    Returns:
        Videos [3, F, H, W]; masks [1, F, H, W] in [0, 1]; and of each video,
        pictures [3, 1, H, W] fitted inside its frame, or None.

    Raises:
        ValueError: a mask without a video.
    """
    videos, masks, references = [], [], []
    for video, mask, images in zip(
            src_video, src_mask, src_ref_images, strict=True):
        if video is None:
            if mask is not None:
                raise ValueError('src_mask is given without a src_video.')
            video = torch.zeros(3, num_frames, *image_size)
        videos.append(video.to(device))
        masks.append(
            torch.ones_like(videos[-1][:1]) if mask is None
            else ((mask[:1].to(device) + 1) / 2).clamp(0, 1))
        height, width = video.shape[2:]
        references.append(images and [
            fitted_reference(image.to(device), (width, height))
            for image in images])
    return videos, masks, references


