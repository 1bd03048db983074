r"""Text to video and text to image."""
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..configs import SIZE_CONFIGS
from ..samplers import SOLVERS
from ..step_cache import StepCacheConfig
from ..text2video import WanT2V
from ..utils.ffmpeg import ffmpeg_exe
from ..utils.flags import check_choices, choice, unbounded
from ..utils.progress import Progress
from ..utils.utils import cache_image, cache_video
from ..windows import WindowConfig
from . import extension
from .checkpoint import Checkpoint
from .settings import (
    Idle,
    JobSettings,
    Settings,
    check_frame_num,
    idle_notes,
)
from .task import Job, Work


@dataclass(frozen=True)
class TextSettings:
    r"""Prompt and sampling.

    Args:
        prompt: what to show.
        n_prompt: what not to show (default: the model's own).
        size: width*height in pixels; without it, a model that lacks the
            default takes its widest.
        frame_num: frames, 4n + 1; an image has 1.
        sample_solver: how the noise is integrated away.
        sample_steps: steps of the solver.
        sample_shift: shift of the noise schedule, above 0; a larger one
            spends more steps in noise.
        sample_guide_scale: classifier-free guidance scale; 1 is without.

    Raises:
        ValueError: a value outside its range.
    """
    prompt: str | None = None
    n_prompt: str | None = None
    size: str = choice('1280*720', SIZE_CONFIGS)
    frame_num: int | None = unbounded(None)
    sample_solver: str = choice('unipc', SOLVERS)
    sample_steps: int | None = None
    sample_shift: float | None = None
    sample_guide_scale: float = 5.0

    def __post_init__(self):
        check_choices(self)
        check_frame_num(self.frame_num)
        if self.sample_steps is not None and self.sample_steps < 1:
            raise ValueError(
                f'sample_steps is {self.sample_steps}: at least 1 is needed.')
        if self.sample_shift is not None and not (
                0 < self.sample_shift < math.inf):
            raise ValueError(
                f'sample_shift is {self.sample_shift}, allowed is above 0.')


IDLE = (
    Idle(('n_prompt',), lambda text: text.sample_guide_scale == 1,
         'sample_guide_scale 1 is without guidance'),)


def text_defaults(
    **own,
) -> Callable[[Mapping, Mapping], Mapping[str, object]]:
    r"""The `defaults` of a task, see `Task`; those of a model go before.

    Args:
        own: of `TextSettings`; without a prompt, one must be given.
    """
    own = {'sample_steps': 50, 'sample_shift': 5.0, **own}
    return lambda given, config: {**own, **config.get('defaults', {})}


def prepare_video(
    settings: Settings, checkpoint: Checkpoint, images: Sequence = ()
) -> Work:
    r"""Check what a video is to be made of, and that it can be written.

    Args:
        images: that the task has, see `Work`.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    ffmpeg_exe()
    return _prepared(settings, checkpoint, images)


def prepare_long_video(settings: Settings, checkpoint: Checkpoint) -> Work:
    r"""The same of a task that can make it in windows of time."""
    work = prepare_video(settings, checkpoint)
    windows, idle = window_notes(settings, work.frame_num)
    return replace(work, windows=windows, notes=(*work.notes, *idle))


def window_notes(
    settings: Settings, frame_num: int
) -> tuple[WindowConfig, list[str]]:
    r"""The windows of a clip, and notes on those that it does not need."""
    windows = settings[WindowConfig]
    return windows, idle_notes((
        Idle(('window_overlap',), lambda w: w.window_frames is None,
             'without window_frames the clip is in one piece'),
        Idle(('window_frames', 'window_overlap'),
             lambda w: frame_num <= w.window_frames,
             f'the {frame_num} frames fit in one window'),
    ), windows, settings.given)


def _prepared(
    settings: Settings, checkpoint: Checkpoint, images: Sequence = ()
) -> Work:
    text = settings[TextSettings]
    if 'size' not in settings.given and text.size not in checkpoint.sizes:
        text = replace(text, size=max(
            checkpoint.sizes, key=lambda size: SIZE_CONFIGS[size][0]))
    size = checkpoint.size(text.size)
    if text.prompt is None or not text.prompt.strip():
        state = 'missing' if text.prompt is None else 'empty'
        raise ValueError(f'prompt is {state}: say what to show.')
    before, idle = extension.prepared(settings, images)
    notes = []
    if 'prompt' not in settings.given:
        notes.append(f'prompt is not given, using: {text.prompt}')
    notes += idle_notes(IDLE, text, settings.given) + idle
    return Work(
        settings.updated(text), size, text.frame_num, text.prompt,
        ('encode text', 'denoise', 'decode'), text.sample_steps,
        1 if text.sample_guide_scale == 1 else 2,
        settings[StepCacheConfig].savings,
        before=before, notes=tuple(notes), images=tuple(images))


def prepare_image(settings: Settings, checkpoint: Checkpoint) -> Work:
    r"""Check what an image is to be made of; see `prepare_video`."""
    frames = settings[TextSettings].frame_num
    if frames != 1:
        raise ValueError(f'frame_num is {frames}: an image has 1 frame.')
    return _prepared(settings, checkpoint)


def run_text(job: Job, pipe: WanT2V, progress: Progress) -> torch.Tensor:
    r"""[3, F, H, W] in [-1, 1]; an image is a video of one frame."""
    return pipe.generate(
        job.settings[TextSettings].prompt, size=job.work.size,
        windows=job.work.windows, **sampling(job), progress=progress)


def sampling(job: Job) -> dict[str, object]:
    r"""Arguments of any pipeline's `generate` on how it samples."""
    text = job.settings[TextSettings]
    return {
        'frame_num': text.frame_num, 'shift': text.sample_shift,
        'sample_solver': text.sample_solver,
        'sampling_steps': text.sample_steps,
        'guide_scale': text.sample_guide_scale,
        'n_prompt': negative(text.n_prompt),
        'seed': job.settings[JobSettings].base_seed,
        'offload_model': job.runtime.offload_model,
        'step_cache': job.settings[StepCacheConfig]}


def negative(n_prompt: str | None) -> str:
    r"""An asked-for empty prompt becomes a blank: '' means the config's."""
    return '' if n_prompt is None else n_prompt or ' '


def save_video(
    folder: Path, job: Job, video: torch.Tensor, progress: Progress
) -> None:
    r"""Write the video, the record among its tags."""
    cache_video(
        video[None], folder / job.save_file.name,
        fps=job.checkpoint.config.sample_fps, nrow=1,
        metadata=job.record.as_metadata())


def save_image(
    folder: Path, job: Job, video: torch.Tensor, progress: Progress
) -> None:
    r"""Write the one frame, the record among its tags."""
    cache_image(
        video.squeeze(1)[None], folder / job.save_file.name, nrow=1,
        metadata=job.record.as_metadata())
