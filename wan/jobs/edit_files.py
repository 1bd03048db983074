r"""The files of an edit: template, photos and masks in, videos out."""
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageOps

from ..configs import SIZE_CONFIGS
from ..modules.rope import token_grid
from ..product.masks import mask_to_latent
from ..product.photo import Product
from ..pvtt import PVTTResult
from ..refdrop.bank_file import BankFile
from ..refdrop.config import RefConfig
from ..utils.checkpoint import fingerprint, weight_files
from ..utils.compare import contact_sheet, side_by_side
from ..utils.image import as_clip, on_white, open_image
from ..utils.mask_file import is_still, read_mask, shown_size
from ..utils.utils import cache_video, save_image
from ..utils.video import VideoInfo, probe, read_video
from .checkpoint import Checkpoint
from .edit_settings import EditInputs, EditOptions
from .settings import MAX_FRAME_NUM, JobSettings, Settings

MAX_FRAMES = 81
# By so much may a mask's aspect differ from the template's.
ROUNDING = 0.02
# Seconds by which a mask may be longer: containers round.
SLACK = 0.5


def nearest_size(info: VideoInfo, sizes: Sequence[str]) -> str:
    r"""The size whose aspect is nearest to a video's."""
    aspect = info.width / info.height

    def mismatch(size):
        ratio = SIZE_CONFIGS[size][0] / SIZE_CONFIGS[size][1] / aspect
        return max(ratio, 1 / ratio)

    return min(sizes, key=mismatch)


def read_template(
    inputs: EditInputs,
    info: VideoInfo,
    size: tuple[int, int],
    checkpoint: Checkpoint,
    long: bool = False,
) -> tuple[torch.Tensor, list[str]]:
    r"""The template as [3, 4n + 1, H, W] in [-1, 1], and notes on it.

    Args:
        long: take more frames than the model makes, unless told otherwise.

    Raises:
        ValueError: it is not readable.
    """
    wanted, fps = inputs.frame_num, checkpoint.config.sample_fps
    usual = checkpoint.config.get('defaults', {}).get('frame_num', MAX_FRAMES)
    most = wanted or (MAX_FRAME_NUM if long else usual)
    # One frame more than is used tells whether any are left over.
    clip = read_video(inputs.src_video, size, fps, most + 1, inputs.fit)
    count = clip.size(1)
    used = min(most, (count - 1) // 4 * 4 + 1)
    notes = list(info.notes)
    if wanted is not None and used < wanted:
        notes.append(
            f'The template has only {count} frames at {fps} a second; '
            f'{used} are edited, not {wanted}.')
    elif used < count:
        notes.append(
            f'Only the first {used} frames of the template (at {fps} a '
            f'second) are edited; the rest is dropped.' if used > 1 else
            'Only the first frame of the template is edited; the rest is '
            'dropped.')
    if (info.width, info.height) != size:
        same_aspect = info.width * size[1] == info.height * size[0]
        how = '' if same_aspect else \
            ' and cropped' if inputs.fit == 'crop' else ' and padded'
        notes.append(
            f'The template of {info.width}x{info.height} is resized{how} to '
            f'{size[0]}x{size[1]}.')
    return clip[:, :used].contiguous(), notes


def read_src_mask(
    inputs: EditInputs,
    info: VideoInfo,
    size: tuple[int, int],
    frames: int,
    checkpoint: Checkpoint,
) -> torch.Tensor:
    r"""The template's mask as [1 or F, H, W] in [0, 1].

    Args:
        info: of the template.

    Raises:
        ValueError: an unreadable file, another shape or number of frames, or
            nothing is marked.
    """
    path = inputs.src_mask
    check_shape(path, info, size)
    mask = read_mask(
        path, size, checkpoint.config.sample_fps, frames, inputs.fit)
    if not is_still(path):
        _check_length(path, len(mask), info, frames)
    try:
        mask_to_latent(mask, checkpoint.latent_shape(size, frames))
    except ValueError as error:
        raise ValueError(f'src_mask {path}: {error}') from error
    return mask


def check_shape(
    path: str, info: VideoInfo, size: tuple[int, int] | None = None
) -> None:
    r"""Check that a mask has the template's shape, but for rounding.

    Args:
        size: another one that it may have; None is none.

    Raises:
        ValueError: it does not, or is unreadable.
    """
    width, height = shown_size(path)
    ratio = width / height * info.height / info.width
    if max(ratio, 1 / ratio) > 1 + ROUNDING and (width, height) != size:
        raise ValueError(
            f'src_mask {path} has {width}x{height} pixels, another shape than '
            f'the template with {info.width}x{info.height}.')


def _check_length(
    path: str, count: int, info: VideoInfo, frames: int
) -> None:
    r"""Check that a mask video is as long as the template, or as its part
    that is edited."""
    if count != frames:
        raise ValueError(
            f'src_mask {path} has {count} frames, the template {frames}.')
    seconds = probe(path).duration
    if seconds and info.duration and seconds > info.duration + SLACK:
        raise ValueError(
            f'src_mask {path} is {seconds:.2f} s long, the template '
            f'{info.duration:.2f} s.')


def read_clip(
    name: str, path: str, size: tuple[int, int], fps: float, frames: int,
    fit: str,
) -> torch.Tensor:
    r"""A clip [3, F, H, W] that belongs to the template.

    Args:
        name: of the setting, for the error.

    Raises:
        ValueError: an unreadable file, or another number of frames.
    """
    clip = read_video(path, size, fps, frames, fit)
    if clip.size(1) != frames:
        raise ValueError(
            f'{name} {path} has {clip.size(1)} frames, the template '
            f'{frames}.')
    return clip


def read_frames(
    inputs: EditInputs, size: tuple[int, int]
) -> tuple[dict[str, torch.Tensor], list[str]]:
    r"""The edited frames that are given, [3, H, W] in [-1, 1], and notes.

    Raises:
        ValueError: an unreadable file.
    """
    resize = ImageOps.fit if inputs.fit == 'crop' else ImageOps.pad
    frames, notes = {}, []
    for name in ('first', 'last'):
        path = getattr(inputs, f'{name}_frame')
        if path is None:
            continue
        image, found = open_image(path)
        frames[name] = as_clip(resize(
            on_white(image), size, Image.Resampling.LANCZOS))[:, 0]
        notes += [f'{path}: {note}' for note in found]
    return frames, notes


def check_bank(
    settings: Settings,
    checkpoint: Checkpoint,
    products: Sequence[Product],
    size: tuple[int, int],
) -> None:
    r"""Check that a bank is of these photos or, where none is, can be written.

    Raises:
        ValueError: neither.
    """
    model = checkpoint.model
    BankFile.of(
        settings[EditOptions].ref_bank, model,
        [product.fitted(size) for product in products],
        token_grid(checkpoint.latent_shape(size, 1), model.patch_size),
        settings[EditInputs].target_prompt, settings[RefConfig],
        settings[JobSettings].base_seed,
    ).made_by(fingerprint(weight_files(checkpoint.folder))).check()


def companions(path: Path) -> tuple[Path, Path, Path, Path]:
    r"""Mask, comparison, contact sheet beside an edit, and the mask of the
    whole template."""
    return (path.with_name(f'{path.stem}_mask{path.suffix}'),
            path.with_name(f'{path.stem}_comparison{path.suffix}'),
            path.with_name(f'{path.stem}_sheet.png'),
            path.with_name(f'{path.stem}_mask.mov'))


def write_mask(path: Path, result: PVTTResult, fps: float) -> None:
    r"""Write where the product is, if the edit was limited to that."""
    if result.mask is not None:
        cache_video(
            result.mask[None, None], path, fps=fps, nrow=1,
            value_range=(0, 1))


def write_comparison(
    video: Path,
    sheet: Path,
    template: torch.Tensor,
    products: Sequence[Product],
    result: torch.Tensor,
    fps: float,
) -> None:
    r"""Write template | photos | result as a video and a contact sheet."""
    save_image(
        contact_sheet([
            ('template', template),
            *(('product photo', product.photo) for product in products),
            ('result', result)]),
        sheet)
    photos = [as_clip(product.photo) for product in products]
    row = side_by_side([template, *photos, result])
    cache_video(row[None], video, fps=fps, nrow=1)
