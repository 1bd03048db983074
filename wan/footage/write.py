r"""Writing a template anew, with patches laid over it."""
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wan.footage.codecs import Coding, coding
from wan.footage.encode import encode
from wan.footage.footage import Footage
from wan.footage.measure import Boxes, Changed, measure
from wan.footage.mux import Track, mux, tracks
from wan.footage.patch import Painter, Patch
from wan.footage.pixels import converted
from wan.footage.source import LIMITED, Ground, ground_planes
from wan.utils.progress import Progress
from wan.utils.record import atomic_write
from wan.utils.temporary import temporary_name

CLOCK = 1.1e-3  # seconds that containers round times by, matroska the most
NAMES = {'range': 'the range of its colours', 'matrix': 'their matrix',
         'primaries': 'their primaries', 'transfer': 'their transfer',
         'turn': 'the way it is turned'}


@dataclass(frozen=True)
class Writing:
    r"""How a template will be written.

    Attributes:
        footage: the template.
        ground: what is under the patches.
        coding: how it is compressed.
        tracks: sound and subtitles that go along.
        notes: sentences on all that is not kept as it is.
    """
    footage: Footage
    ground: Ground
    coding: Coding
    tracks: tuple[Track, ...]
    notes: tuple[str, ...]


def plan_writing(
    path: str | Path,
    footage: Footage,
    codec: str = 'x264',
    crf: float | None = None,
) -> Writing:
    r"""Check, before any work, that a template can be written so.

    Args:
        path: target ending in .mp4, .mov or .mkv.
        codec: 'x264', 'x265', 'prores' or 'lossless'.
        crf: 0 (best) to 51, of x264 and x265; None for their default.

    Raises:
        ValueError: something that does not go together, in one sentence.
    """
    ground = Ground.of(footage)
    chosen = coding(ground.pixels, codec, crf, path)
    kept, notes = tracks(footage, Path(path).suffix.lower())
    return Writing(footage, ground, chosen, tuple(kept), (
        *footage.notes, *ground.notes(footage), *chosen.notes, *notes))


def write_footage(
    path: str | Path,
    footage: Footage,
    patches: Iterable[Patch | None],
    frames: Sequence[int] | None = None,
    *,
    codec: str = 'x264',
    crf: float | None = None,
    metadata: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    measured: bool = True,
) -> Changed:
    r"""The template with patches laid over it, else as it is.

    Outside of the patches the planes given to the encoder are the template's,
    bit for bit. Size, times, rotation, aspect of pixels, tags of colour,
    sound and subtitles are the template's. Memory does not grow with length.

    Args:
        path: target ending in .mp4, .mov or .mkv; it appears only when all
            went well.
        patches: one for each frame written, in order; None for no change.
        frames: numbers of the stored frames to be written, rising; None for
            all.
        codec: see `plan_writing`.
        crf: see `plan_writing`.
        metadata: tags such as `comment`, of any length.
        progress: told of the stages 'write' and 'measure'.
        measured: whether the file is compared with the template.

    Returns:
        what was changed, and sentences on all that is not as it was.

    Raises:
        ValueError: a combination that cannot be written, too few or too many
            patches, one that does not fit, or a template that has changed.
        OSError: encoding or writing failed.
    """
    path = Path(path)
    plan = plan_writing(path, footage, codec, crf)
    frames = range(len(footage.ticks)) if frames is None else frames
    footage.check(frames)
    progress = progress or Progress()
    with atomic_write(path) as target, Boxes(plan.ground.pixels) as boxes:
        with progress.stage('write', len(frames)) as step:
            _write(path, target, plan, patches, frames, boxes, metadata or {},
                   step)
            written, lost = _verified(path, target, plan, frames)
        changed = Changed(boxes.share)
        if measured:
            with progress.stage('measure', len(frames)) as step:
                known = enumerate(_measured(written, plan, frames, boxes), 1)
                for done, changed in known:  # noqa: B007, the last counts
                    step(done, len(frames))
        footage.unchanged()
    return replace(changed, notes=(*plan.notes, *lost))


def _write(path, target, plan, patches, frames, boxes, metadata, step) -> None:
    footage, first = plan.footage, frames[0]
    ticks = [footage.ticks[i] - footage.ticks[first] for i in frames]
    ticks.append(footage.ticks[-1] + footage.last - footage.ticks[first])
    # Beside the target, where there is room for it.
    folder = target.with_name(temporary_name())
    folder.mkdir()
    try:
        video = folder / 'video'
        with closing(_painted(plan, patches, frames, boxes, step)) as planes:
            try:
                encode(video, planes, ticks, footage.base, plan.coding,
                       plan.ground.tags, plan.ground.aspect)
            except OSError as error:
                raise OSError(f'Could not write {path}: {error}') from error
        mux(path, video, target, plan.footage, first, plan.tracks,
            plan.ground.turn, metadata)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _painted(plan, patches, frames, boxes, step) -> Iterator[list[np.ndarray]]:
    r"""What is given to the encoder, frame by frame."""
    painter = Painter(plan.footage, plan.ground)
    patches = iter(patches)
    with closing(ground_planes(plan.footage, plan.ground, frames)) as grounds:
        for done, planes in enumerate(grounds, 1):
            try:
                patch = next(patches)
            except StopIteration:
                raise ValueError(f'There are {done - 1} patches for '
                                 f'{len(frames)} frames.') from None
            box = None
            if patch is not None:
                planes, box = painter.paint(planes, patch)
            boxes.add(box)
            yield converted(planes, plan.ground.pixels, plan.coding.pixels)
            step(done, len(frames))
    if next(patches, plan) is not plan:
        raise ValueError(f'There are more patches than {len(frames)} frames.')


def _verified(path, target, plan, frames) -> tuple[Footage, list[str]]:
    r"""The written file, and what it does not say as the template does."""
    try:
        written = Footage.open(target)
    except ValueError as error:
        raise OSError(f'Could not write {path}: it does not decode '
                      f'({error})') from error
    times = plan.footage.times
    wanted = [times[i] - times[frames[0]] for i in frames]
    if len(written.ticks) != len(wanted) or any(
            abs(a - b) > CLOCK for a, b in zip(
                written.times, wanted, strict=True)):
        raise OSError(f'Could not write {path}: its {len(written.ticks)} '
                      f'frames do not have the times of the {len(wanted)} '
                      'that were to be written.')
    found, ground = written.info.stream, plan.ground
    if written.pixels is None or written.pixels.shapes != (
            plan.coding.pixels.shapes):
        raise OSError(f'Could not write {path}: it decodes as '
                      f'{found["pixels"]}, not {plan.coding.pixels.name}.')
    facts = ground.tags | {'turn': list(ground.turn)}
    if not plan.coding.pixels.full:  # which is meant where nothing is said
        facts['range'] = found['range'] = found['range'] or LIMITED
    notes = [f'{NAMES[name]} ({found[name]} instead of {value})'
             for name, value in facts.items() if found[name] != value]
    if abs(found['aspect'] - ground.aspect) > 1e-3:
        notes.append('the aspect of its pixels')
    return written, [
        f'{path.suffix} did not keep {", ".join(notes)}.'] if notes else []


def _measured(written, plan, frames, boxes) -> Iterator[Changed]:
    pixels = written.pixels  # as decoded: ProRes 4444 has more bits then
    with (closing(written.raw(
              range(len(frames)), pixels.frame_bytes, [],
              ('-noautorotate',))) as results,
          closing(ground_planes(
              plan.footage, plan.ground, frames)) as templates):
        yield from measure(
            (pixels.planes(data) for data in results),
            (converted(planes, plan.ground.pixels, pixels)
             for planes in templates), boxes, pixels, len(frames))
