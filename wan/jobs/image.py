r"""Image to video, and first-last frame to video."""
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

import torch
from PIL import Image

from ..configs import MAX_AREA_CONFIGS
from ..first_last_frame2video import WanFLF2V, check_room
from ..given_frames import frame_size
from ..image2video import WanI2V
from ..utils.flags import path
from ..utils.image import is_transparent, on_white, open_image
from ..utils.progress import Progress
from .checkpoint import Checkpoint
from .settings import Settings
from .task import Job, Work
from .text import TextSettings, prepare_video, sampling, text_defaults


@dataclass(frozen=True)
class ImageSettings:
    r"""The image to go on from.

    Args:
        image: the video's first frame; it tells the result's shape, size only
            the area.
    """
    image: str | None = path()


@dataclass(frozen=True)
class EndSettings:
    r"""The images to go between.

    Args:
        first_frame: it tells the result's shape, size only the area.
        last_frame: of another size, it is resized to cover the first one's
            and cropped.
    """
    first_frame: str | None = path()
    last_frame: str | None = path()


def image_defaults(
    given: Mapping[str, object], config: Mapping
) -> Mapping[str, object]:
    r"""Of image to video, see `Task`."""
    area = MAX_AREA_CONFIGS.get(str(given.get('size')))
    shift = 3.0 if area == MAX_AREA_CONFIGS['832*480'] else 5.0
    return text_defaults(
        frame_num=81, sample_steps=40, sample_shift=shift)(given, config)


def prepare_from_image(settings: Settings, checkpoint: Checkpoint) -> Work:
    r"""Check a prompt and a first frame.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    return _prepared(settings, checkpoint, asdict(settings[ImageSettings]))


def prepare_between(settings: Settings, checkpoint: Checkpoint) -> Work:
    r"""Check a prompt, a first and a last frame; see `prepare_from_image`."""
    check_room(settings[TextSettings].frame_num)
    return _prepared(settings, checkpoint, asdict(settings[EndSettings]))


def _prepared(
    settings: Settings, checkpoint: Checkpoint, files: Mapping[str, str | None]
) -> Work:
    r"""Args:
        files: by their setting, the first frame's first.
    """
    for name, file in files.items():
        if not file:
            raise ValueError(f'{name} is missing: ' + (
                f'{" and ".join(files)} are both needed.' if len(files) > 1
                else 'the picture to go on from.'))
    images, notes = read_images(files.values())
    work = prepare_video(settings, checkpoint, images)
    area = math.prod(work.size)
    size = frame_size(images[0].size, area, checkpoint.config)
    shapes = [_shape_note(file, image, images[0].size, size)
              for file, image in zip(files.values(), images, strict=True)]
    return replace(
        work, size=size, data=area,
        stages=('encode text', 'encode image', 'encode', 'denoise', 'decode'),
        notes=(*work.notes, *notes, *filter(None, shapes)))


def read_images(
    files: Iterable[str]
) -> tuple[tuple[Image.Image, ...], list[str]]:
    r"""Images in mode RGB, and notes on them.

    Raises:
        ValueError: one that cannot be read.
    """
    images, notes = [], []
    for file in files:
        image, found = open_image(file)
        if is_transparent(image):
            found += ('What is transparent is white.',)
        images.append(on_white(image))
        notes += [f'{file}: {note}' for note in found]
    return tuple(images), notes


def _shape_note(
    file: str,
    image: Image.Image,
    first: tuple[int, int],
    size: tuple[int, int],
) -> str | None:
    r"""What becomes of an image, if anything; sizes are (width, height)."""
    if image.size == size == first:
        return None
    cropped = image.width * first[1] != image.height * first[0]
    return (f'{file} of {image.width}x{image.height} is resized'
            f'{" and cropped" if cropped else ""} to {size[0]}x{size[1]}.')


def run_images(
    job: Job, pipe: WanI2V | WanFLF2V, progress: Progress
) -> torch.Tensor:
    r"""[3, F, H, W] in [-1, 1]."""
    return pipe.generate(
        job.settings[TextSettings].prompt, *job.work.images,
        max_area=job.work.data, **sampling(job), progress=progress)
