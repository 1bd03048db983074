r"""VACE as a task: a video by a prompt, a video, a mask and images."""
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..utils.flags import path
from ..utils.image import as_clip
from ..utils.mask_file import is_still
from ..utils.progress import Progress
from ..utils.sound import Sound, read_sound
from ..utils.utils import cache_video
from ..utils.vace_frames import Choice
from ..utils.vace_processor import prepare_source
from ..utils.video import VideoInfo, probe
from ..vace import WanVace, source_processor
from .checkpoint import Checkpoint
from .image import read_images
from .settings import Settings
from .task import Job, Work
from .text import TextSettings, prepare_video, sampling

# Seconds by which a result may be longer or shorter than its source to have
# the source's sound: at its end no one sees such a delay.
DRIFT = 0.1


@dataclass(frozen=True)
class VaceSettings:
    r"""What controls a VACE checkpoint.

    Args:
        src_video: a video to keep where src_mask is black (default: none, all
            is made).
        src_mask: video or image, white where something new is to be made
            (default: everywhere).
        src_ref_images: images of what is to appear; given several times, or
            one text in which commas separate them.
        context_scale: weight of all three; 0 is without.
    """
    src_video: str | None = path()
    src_mask: str | None = path()
    src_ref_images: tuple[str, ...] = path(several=True)
    context_scale: float = 1.0


@dataclass(frozen=True)
class VaceData:
    r"""What was read.

    Args:
        frames: [3, F, H, W] in [-1, 1].
        mask: [1, F, H, W] in [0, 1].
        references: [3, 1, H, W] each, fitted inside the frame.
        sound: of the video, where it goes with the result.
    """
    frames: torch.Tensor
    mask: torch.Tensor
    references: Sequence[torch.Tensor]
    sound: Sound | None


def prepare_vace(settings: Settings, checkpoint: Checkpoint) -> Work:
    r"""Read and check what a video is to be made of.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    inputs = settings[VaceSettings]
    if inputs.src_mask and not inputs.src_video:
        raise ValueError(
            f'src_mask {inputs.src_mask} is given without a src_video.')
    images, found = read_images(inputs.src_ref_images)
    work = prepare_video(settings, checkpoint, images)
    notes, video, mask, sound = [*work.notes, *found], None, None, None
    text = work.settings[TextSettings]
    if inputs.src_video:
        processor = source_processor(checkpoint.config, work.size)
        info = probe(inputs.src_video)
        if 'frame_num' in settings.given:
            latent = checkpoint.latent_shape(work.size, text.frame_num)[1]
            processor.set_seq_len(min(
                processor.seq_len,
                latent * processor.tokens(info.height, info.width)))
        choice = processor.plan(inputs.src_video, inputs.src_mask)
        video = processor.read(inputs.src_video, choice)
        if inputs.src_mask:
            mask = processor.read_mask(inputs.src_mask, choice)
            notes += _mask_notes(inputs.src_mask, mask)
        rate = checkpoint.config.sample_fps
        notes += [*info.notes, *_video_notes(
            info, choice, rate, text, 'frame_num' in settings.given)]
        sound, more = _read_sound(inputs.src_video, info, choice, rate)
        notes += more
        text = replace(text, frame_num=len(choice.frame_ids))
        work = replace(work, size=(choice.ow, choice.oh))
    (frames,), (mask,), (references,) = prepare_source(
        [video], [mask], [[as_clip(image) for image in images]],
        text.frame_num, work.size[::-1], 'cpu')
    return replace(
        work, settings=work.settings.updated(text), frame_num=text.frame_num,
        stages=('encode text', 'encode', 'denoise', 'decode'),
        lead=len(images), notes=tuple(notes),
        data=VaceData(frames, mask, references, sound))


def _mask_notes(file: str, mask: torch.Tensor) -> list[str]:
    notes = []
    if not is_still(file):
        notes += [f'{file}: {note}' for note in probe(file).notes]
    if not (mask[0] > 0).any():
        notes.append(
            f'src_mask {file} is white nowhere: nothing new is made.')
    return notes


def _video_notes(
    info: VideoInfo,
    choice: Choice,
    rate: float,
    text: TextSettings,
    limited: bool,
) -> list[str]:
    r"""What is taken of a video, and what is not."""
    notes, taken = [], len(choice.frame_ids)
    if limited and taken < text.frame_num:
        notes.append(
            f'src_video gives only {taken} frames, not frame_num '
            f'{text.frame_num}.')
    if taken < choice.count:
        notes.append(
            f'Of the {choice.count} frames of src_video {taken} are taken, '
            f'evenly from the first to the last.' if taken > 1 else
            f'Of the {choice.count} frames of src_video the first is taken.')
    if round(info.fps, 2) != rate:
        notes.append(
            f'src_video has {info.fps:.4g} frames a second; its frames are '
            f'taken as they are stored and played at {rate}.')
    if (info.width, info.height) != (choice.ow, choice.oh):
        how = '' if info.width * choice.oh == info.height * choice.ow \
            else ' and cropped'
        notes.append(
            f'src_video of {info.width}x{info.height} is resized{how} to '
            f'{choice.ow}x{choice.oh}, its shape in the area of size '
            f'{text.size}.')
    return notes


def _read_sound(
    file: str, info: VideoInfo, choice: Choice, rate: float
) -> tuple[Sound | None, list[str]]:
    r"""The sound of a video, if it goes with the result; else a note."""
    if not info.has_audio:
        return None, []
    seconds, own = len(choice.frame_ids) / rate, choice.count / info.fps
    if abs(seconds - own) > DRIFT:
        return None, [
            f'The result lasts {seconds:.2f} s, src_video {own:.2f} s: its '
            f'sound is left out.']
    sound = read_sound(file, seconds)
    return sound, [] if sound else [
        'The sound of src_video cannot be read; the result has none.']


def run_vace(job: Job, pipe: WanVace, progress: Progress) -> torch.Tensor:
    r"""[3, F, H, W] in [-1, 1]."""
    data: VaceData = job.work.data
    return pipe.generate(
        job.settings[TextSettings].prompt, [data.frames], [data.mask],
        [data.references], size=job.work.size,
        context_scale=job.settings[VaceSettings].context_scale,
        **sampling(job), progress=progress)


def save_vace(
    folder: Path, job: Job, video: torch.Tensor, progress: Progress
) -> None:
    r"""Write the video, the record among its tags."""
    cache_video(
        video[None], folder / job.save_file.name,
        fps=job.checkpoint.config.sample_fps, nrow=1,
        audio=job.work.data.sound, metadata=job.record.as_metadata())
