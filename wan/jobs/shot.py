r"""The part of a template that is edited, and what the model sees of it."""
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..footage import Footage, plan_writing
from ..product.hint import Hint
from ..product.locate import doubts
from ..product.view import (
    Size,
    View,
    around,
    coarse_size,
    fixed,
    resized,
    squeezed,
    whole,
)
from ..utils import disk
from ..utils.image import read_mask_image
from ..utils.mask_file import is_still
from ..utils.progress import Progress
from ..utils.video_writer import VIDEO_SUFFIXES
from ..windows import WindowConfig
from .checkpoint import Checkpoint
from .edit_files import MAX_FRAMES, check_shape
from .edit_masks import MaskConfig
from .edit_output import OutputSettings, suffix_of
from .edit_settings import SHOWN, EditInputs, EditOptions
from .settings import JobSettings, Settings

# Seconds by which a mask may be longer: containers round.
SLACK = 0.5


@dataclass(frozen=True)
class Mask:
    r"""A mask of the template that is given, read frame by frame.

    Args:
        path: of a video, a folder of pictures, or one picture.
        numbers: for each edited frame the mask's stored frame; None for a
            picture, which holds for all.
    """
    path: str
    numbers: tuple[int, ...] | None

    @classmethod
    def of(cls, path: str, template: Footage, frames: Sequence[int]) -> 'Mask':
        r"""A mask of a template, of which some frames are edited.

        Raises:
            ValueError: unreadable, or not as long as the template or as its
                part that is edited.
        """
        if is_still(path):
            return cls(path, None)
        mask = Footage.open(path)
        count, seconds = len(mask.times), mask.duration
        if count == len(template.times):
            return cls(path, tuple(frames))
        if count == len(frames):
            return cls(path, tuple(range(count)))
        if abs(seconds - template.duration) > SLACK:
            raise ValueError(
                f'src_mask {path} has {count} frames ({seconds:.2f} s), the '
                f'template {len(template.times)} ({template.duration:.2f} s), '
                f'of which {len(frames)} are edited: as many as either are '
                f'needed.')
        times = torch.tensor(mask.times)
        return cls(path, tuple(
            int((times - template.times[i]).abs().argmin()) for i in frames))

    def frames(self, count: int) -> Iterator[torch.Tensor]:
        r"""[1, h, w] in [0, 1] for each edited frame."""
        if self.numbers is None:
            image = read_mask_image(self.path)
            data = torch.frombuffer(
                bytearray(image.convert('L').tobytes()), dtype=torch.uint8)
            still = data.view(1, image.height, image.width).float() / 255
            for _ in range(count):
                yield still
            return
        wanted = Counter(self.numbers)  # near in time may be one for several
        shown = Footage.open(self.path).shown(sorted(wanted), ground='black')
        for number, frame in zip(sorted(wanted), shown, strict=True):
            for _ in range(wanted[number]):
                # In bytes, as a picture or a lossless copy has it.
                yield ((frame.mean(0, keepdim=True) + 1) * 127.5).round() / 255


@dataclass(frozen=True)
class Found:
    r"""A mask that was found, read as one that was written to a file is.

    Args:
        cells: [F, h, w] in [0, 1], small, of the edited frames.
        size: of the template.
    """
    cells: torch.Tensor
    size: Size

    def frames(self, count: int) -> Iterator[torch.Tensor]:
        r"""[1, h, w], 0 or 1, for each edited frame."""
        for frame in self.cells[:count]:
            yield (resized(frame[None], self.size) > 0.5).float()


@dataclass(frozen=True)
class Shot:
    r"""What is edited of a template.

    Args:
        footage: the template.
        frames: numbers of its frames that are edited.
        written: numbers of those that are written; None for all.
        size: (width, height) that the model sees.
        view: the window; None until the product is found.
        mask: where the product is; None as long as that is not known.
    """
    footage: Footage
    frames: tuple[int, ...]
    written: tuple[int, ...] | None
    size: Size
    view: View | None
    mask: Mask | Found | None = None

    @property
    def count(self) -> int:
        r"""Frames that the model is shown: 4n + 1, the last one repeated."""
        return (len(self.frames) + 2) // 4 * 4 + 1

    @property
    def everything(self) -> View:
        r"""The whole frame, padded."""
        return whole(
            self.footage.size, self.size, len(self.frames), pad=True)

    @property
    def searched(self) -> View:
        r"""The whole frame, in which the product is looked for."""
        return squeezed(self.footage.size, self.size, len(self.frames))

    def seen(self, view: View, progress: Progress) -> torch.Tensor:
        r"""The clip [3, F, h, w] in [-1, 1] that the model sees.

        Raises:
            ValueError: the template is no longer what it was.
        """
        self.footage.unchanged()
        total = len(self.frames)
        with progress.stage('read the template', total) as step:

            def counted():
                for i, frame in enumerate(self.footage.shown(self.frames)):
                    yield frame
                    step(i + 1, total)

            return self._clip(counted(), 3, view, -1.)

    def masked(self, view: View) -> torch.Tensor:
        r"""The mask [F, h, w], 0 or 1, as the model sees it."""
        return (self._clip(self.mask.frames(len(self.frames)), 1, view, 0.)[
            0] > 0.5).float()

    def _clip(self, pictures, channels, view, ground):
        width, height = view.size
        clip = disk.empty((channels, self.count, height, width))
        for i, picture in enumerate(pictures):
            clip[:, i] = view.take(picture, i, ground)
        clip[:, len(self.frames):] = clip[:, len(self.frames) - 1, None]
        return clip

    def at(self, view: View) -> 'Shot':
        return replace(self, view=view)

    def having(self, found: torch.Tensor) -> 'Shot':
        r"""With a mask [F, h, w] of the whole template that was found."""
        return replace(self, mask=Found(found, self.footage.size))

    def around(self, mask: torch.Tensor | None) -> 'Shot':
        r"""With a window around a mask [F, h, w] of the template's aspect;
        None, or one that marks nothing, is the whole frame."""
        if mask is None or not (mask > 0.5).any():
            return self.at(self.everything)
        return self.at(around(mask, self.footage.size, self.size))

    def coarse(self) -> torch.Tensor:
        r"""The mask [F, h, w], small, of the whole template."""
        size = coarse_size(self.footage.size)
        return torch.cat([
            resized(frame, size)
            for frame in self.mask.frames(len(self.frames))])

    def known_mask(self) -> torch.Tensor | None:
        r"""What `masked` gives, if window and mask are known by now."""
        if self.mask is None or self.view is None:
            return None
        return self.masked(self.view)

    def outside(self, mask: torch.Tensor, view: View) -> torch.Tensor:
        r"""A mask [F, h, w] that was found in a view, of the whole template,
        small: [F, h', w']."""
        size = coarse_size(self.footage.size)
        return torch.cat([
            view.put(mask[i][None].float(), i, size)
            for i in range(len(self.frames))])


def window_of(crop: str | tuple[int, ...], shot: Shot, pad: bool) -> Shot:
    r"""The shot with its window, as far as it is known before the product is
    found.

    Args:
        crop: see `OutputSettings.window`.
        pad: of the whole frame, see `whole`.

    Raises:
        ValueError: a window outside the template.
    """
    frame, count = shot.footage.size, len(shot.frames)
    if crop == 'full':
        return shot.at(whole(frame, shot.size, count, pad))
    if crop != 'auto':
        return shot.at(fixed(frame, shot.size, count, crop))
    return shot if shot.mask is None else shot.around(shot.coarse())


def read_shot(
    settings: Settings, size: Size, checkpoint: Checkpoint
) -> tuple[Shot, list[str]]:
    r"""The shot of a job, and notes on the template.

    Args:
        size: (width, height) that the model sees.

    Raises:
        ValueError: template, mask or times that do not fit.
    """
    inputs, output = settings[EditInputs], settings[OutputSettings]
    footage = Footage.open(inputs.src_video)
    frames = footage.chosen(output.rate, output.start, output.end)
    path = Path(settings[JobSettings].save_file or '')
    if path.suffix.lower() not in VIDEO_SUFFIXES:  # a name that is yet to come
        path = Path('x').with_suffix(suffix_of(output.codec))
    notes = list(plan_writing(
        path, footage, output.codec, output.crf).notes)
    if inputs.frame_num is not None and inputs.frame_num < len(frames):
        notes.append(
            f'Only {inputs.frame_num} of {len(frames)} frames are edited; the '
            f'others are passed through.')
        frames = frames[:inputs.frame_num]
    written = None if output.rate is None else footage.chosen(output.rate)
    mask = None
    if inputs.src_mask and settings[EditOptions].use_mask:
        check_shape(inputs.src_mask, footage.info)
        mask = Mask.of(inputs.src_mask, footage, frames)
    shot = Shot(footage, frames, written, size, None, mask)
    if mask is not None:
        coarse = shot.coarse()
        if not (coarse > 0.5).any():
            raise ValueError(
                f'src_mask {inputs.src_mask} marks nothing in the frames that '
                f'are edited: the product must be white in it, and larger '
                f'than a few pixels.')
        notes += doubts((coarse > 0.5).float(), given=True)
    return window_of(output.window, shot, inputs.fit == 'pad'), notes


def long_windows(
    settings: Settings, frames: int, checkpoint: Checkpoint
) -> Settings:
    r"""The settings with windows in time if the model needs them.

    Raises:
        ValueError: it does, and cannot have them.
    """
    usual = checkpoint.config.get('defaults', {}).get('frame_num', MAX_FRAMES)
    if frames <= usual or settings[WindowConfig].window_frames is not None:
        return settings
    kind = checkpoint.model.model_type
    if kind not in SHOWN['window_frames']:
        raise ValueError(
            f'The template has {frames} frames to edit, and a checkpoint of '
            f'type {kind} edits at most {usual} at once: choose a part with '
            f'start and end, or fewer frames a second with fps.')
    return settings.updated(replace(
        settings[WindowConfig], window_frames=usual))


def shot_hint(settings: Settings, shot: Shot) -> Hint | None:
    r"""The hint in `Shot.everything`, and counted in the edited frames.

    Raises:
        ValueError: a place that is not there.
    """
    config, frame = settings[MaskConfig], shot.footage.size
    hint = config.hint
    if hint is None:
        return None
    hint.check(config.hint_name, frame, len(shot.footage.times))
    if not shot.frames[0] <= hint.frame <= shot.frames[-1]:
        if '@' in (config.src_box or config.src_point):
            raise ValueError(
                f'{config.hint_name} is of frame {hint.frame}, but frames '
                f'{shot.frames[0]} to {shot.frames[-1]} are edited.')
        hint = replace(hint, frame=shot.frames[0])
    index = bisect_left(shot.frames, hint.frame)
    whole = shot.searched
    return replace(hint, frame=index).seen(
        (*whole.corners[0], *whole.box), shot.size)


def told(shot: Shot, settings: Settings) -> tuple[tuple[str, str], ...]:
    r"""Rows of the plan: what is edited, what of it the model sees, and how
    the result is written."""
    footage, output = shot.footage, settings[OutputSettings]
    (width, height), times, view = footage.size, footage.times, shot.view
    first, last = shot.frames[0], shot.frames[-1]
    sound = footage.info.audio_codec
    if shot.mask is not None:
        mask = f'given, {shot.mask.path}'
    elif settings[EditOptions].use_mask:
        mask = f'looked for, mask_method {settings[MaskConfig].mask_method}'
    else:
        mask = 'none'
    if view is None:
        window = 'around the product, once it is found'
    else:
        window = f'{view.box[0]}x{view.box[1]}, ' + (
            'follows the product' if view.moves else
            'at {},{}'.format(*view.corners[0]))
    quality = '' if output.crf is None else f', crf {output.crf:g}'
    rate = '' if output.rate is None else f' at {output.rate:g} a second'
    return (
        ('template', f'{width}x{height}, {len(times)} frames at '
         f'{footage.fps:.4g} a second, {footage.duration:.2f} s, '
         f'{f"sound {sound}" if sound else "no sound"}'),
        ('edited', f'{len(shot.frames)} frames{rate}, {first} to {last} '
         f'({times[first]:.2f} to {times[last]:.2f} s)'),
        ('mask', mask),
        ('window', window),
        ('written as', output.codec + quality),
    )
