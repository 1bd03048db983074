r"""The shot of a job: read, checked and told of by its settings."""
from bisect import bisect_left
from dataclasses import replace
from pathlib import Path

from ..footage import plan_writing
from ..product.hint import Hint
from ..product.locate import doubts
from ..product.view import Size, fixed, whole
from ..utils.video_writer import VIDEO_SUFFIXES
from ..windows import WindowConfig
from .checkpoint import Checkpoint
from .edit_files import MAX_FRAMES, check_shape
from .edit_masks import MaskConfig
from .edit_output import OutputSettings, suffix_of
from .edit_settings import SHOWN, EditInputs, EditOptions
from .settings import JobSettings, Settings
from .shot import Mask, Shot, opened


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
    footage = opened(inputs.src_video)
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
