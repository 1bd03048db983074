r"""Product video template transfer as a task."""
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..edit_config import EditConfig
from ..edit_steps import pastes
from ..flowalign import EDIT_METHODS
from ..product.finding import AUTO, Finding
from ..product.locate import doubts
from ..product.photo import Product
from ..pvtt import Editing, PVTTResult, WanPVTT
from ..refdrop.config import RefConfig
from ..step_cache import StepCacheConfig
from ..utils.kept import Kept
from ..utils.metrics import background_report
from ..utils.progress import Progress
from ..utils.sound import Sound, read_sound
from ..utils.utils import cache_video
from ..utils.video import probe
from ..windows import WindowConfig
from . import extension
from .checkpoint import Checkpoint
from .edit_call import calling, kept_of
from .edit_files import (
    check_bank,
    companions,
    nearest_size,
    read_clip,
    read_frames,
    read_src_mask,
    read_template,
    write_comparison,
    write_mask,
)
from .edit_masks import CutoutConfig, MaskConfig, clip_hint, read_finding
from .edit_native import NativeResult, editing_native, save_native
from .edit_output import OutputSettings, suffix_of
from .edit_photos import read_products
from .edit_prompts import BANK_OF_ONE_PROMPT, check_words, shown_photos
from .edit_settings import (
    IDLE,
    EditInputs,
    EditOptions,
    Facts,
    check_shown,
    preset_notes,
    shows_collage,
)
from .edit_shot import long_windows, read_shot, shot_hint, told
from .edit_sparse import SparseTokens, resolved_sparse
from .settings import Settings, idle_notes
from .shot import Shot
from .task import Job, Work
from .text import window_notes

NO_SOUND = (
    "The template's sound cannot be read, or there is none in the frames that "
    'are edited; the result has none.')
# Stages of a second edit with another photo.
AGAIN = ('capture the reference', 'edit', 'decode')
# A pull that leaves no way back.
REVERSIBLE_ZETA = 0.01


@dataclass(frozen=True)
class EditData:
    r"""What was read for an edit.

    Args:
        products: the photos.
        frames: edited frames that are given, see `WanPVTT.generate`.
        shot: the part of the template that is edited, which is read while the
            job runs; None where the model's own clip is the result.
        clip: without a shot, the template, [3, 4n + 1, H, W] in [-1, 1].
        mask: [1 or F, H, W] in [0, 1], or None if none is given and used.
        finding: how the product is looked for in that case.
        reverse_from: an edited clip to go back from, or None.
        sound: of the template, in memory: the file may change meanwhile.
    """
    products: tuple[Product, ...]
    frames: Mapping[str, torch.Tensor]
    shot: Shot | None = None
    clip: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    finding: Finding = AUTO
    reverse_from: torch.Tensor | None = None
    sound: Sound | None = None


def prepare_edit(settings: Settings, checkpoint: Checkpoint) -> Work:
    r"""Read and check the template, the photos and the settings.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    inputs, options = settings[EditInputs], settings[EditOptions]
    edit = settings[EditConfig].resolved(checkpoint.config)
    _check_required(inputs, options)
    products, notes = read_products(
        inputs.target_image, inputs.target_mask, settings[CutoutConfig]) \
        if options.use_reference else ((), [])
    if products and edit.view_angles:
        settings = settings.updated(
            settings[RefConfig].shared(len(products)))
    ref = settings[RefConfig]
    _check_reference(settings, len(products), checkpoint.model.num_layers)
    check_shown(settings, checkpoint.model.model_type, bool(products))
    sparse = resolved_sparse(
        settings, checkpoint.model.model_type, edit.edit_method)
    check_words(inputs, checkpoint)
    images = shown_photos(products, ref)
    before, idle = extension.prepared(settings, images)

    info = probe(inputs.src_video)
    size_name = inputs.size or nearest_size(info, checkpoint.sizes)
    size = checkpoint.size(size_name)
    facts = Facts(
        inputs, options, edit, ref, settings[OutputSettings],
        pastes(edit, products, options.use_mask), settings[MaskConfig],
        settings[CutoutConfig], sparse,
        shows_collage(settings, checkpoint.model.model_type, bool(products)))
    read = _read_native if facts.output.native else _read_model
    data, frames, settings, more = read(
        settings, facts, info, size, checkpoint)
    notes += more
    if products:
        edit.check_views(len(products), frames)
    data = replace(data, products=products)
    masked = data.shot.mask if data.shot else data.mask
    notes += _reverse_notes(facts) + preset_notes(facts)
    windows, unused = window_notes(settings, frames)
    notes += idle_notes(IDLE, facts, settings.given) + idle + unused

    steps = len(edit.sigmas) - 1
    reads = bool(products) and ref.reads(checkpoint.model.num_layers, steps)
    if reads and options.ref_bank:
        if before:
            raise ValueError(BANK_OF_ONE_PROMPT)
        check_bank(settings, checkpoint, products, size)
    evaluations = len(facts.method.branches) + (
        reads and ref.own_guidance is not None)
    tokens = SparseTokens.of(
        sparse, edit, data.shot.known_mask() if data.shot else data.mask,
        checkpoint, size)
    return Work(
        settings.updated(
            edit, sparse, replace(inputs, size=size_name, frame_num=frames)),
        size, frames, inputs.target_prompt,
        _stages(facts, masked is not None, reads,
                checkpoint.model.needs_image, bool(products)),
        steps, evaluations,
        (*tokens.savings, *settings[StepCacheConfig].savings),
        windows=windows, batch=evaluations if edit.batch_branches else 1,
        packed=tokens.packed(evaluations),
        bank_tokens=reads * len(products) * checkpoint.tokens(size, 1),
        lead=len(products) if checkpoint.model.model_type == 'vace' else 0,
        before=before, notes=tuple(notes), images=images,
        suffix=suffix_of(facts.output.codec), data=data,
        told=told(data.shot, settings) if data.shot else ())


def _read_model(settings, facts, info, size, checkpoint):
    r"""What is read where the model's own clip is the result, the number of
    its frames, the settings, and notes."""
    inputs, options = facts.inputs, facts.options
    clip, notes = read_template(
        inputs, info, size, checkpoint,
        long=settings[WindowConfig].window_frames is not None)
    shown, more = read_frames(inputs, size)
    notes += more
    frames, mask, sound = clip.size(1), None, None
    if inputs.src_mask and options.use_mask:
        mask = read_src_mask(inputs, info, size, frames, checkpoint)
        notes += doubts(mask, given=True)
    finding = read_finding(settings, clip_hint(
        settings, info, size, frames, checkpoint.config.sample_fps)) \
        if options.use_mask and mask is None else AUTO
    back = _reverse(facts, size, frames, checkpoint)
    if info.has_audio:
        sound = read_sound(
            inputs.src_video, frames / checkpoint.config.sample_fps)
        if sound is None:
            notes.append(NO_SOUND)
    return EditData((), shown, None, clip, mask, finding, back, sound), \
        frames, settings, notes


def _read_native(settings, facts, info, size, checkpoint):
    r"""The same where the template itself is, which is not read yet."""
    if facts.options.reverse:
        raise ValueError("reverse goes back to the model's own clip: it "
                         'needs output model.')
    shot, notes = read_shot(settings, size, checkpoint)
    shown, more = read_frames(facts.inputs, shot.footage.size)
    finding = read_finding(settings, shot_hint(settings, shot)) \
        if facts.options.use_mask and shot.mask is None else AUTO
    return EditData((), shown, shot, finding=finding), shot.count, \
        long_windows(settings, shot.count, checkpoint), notes + more


def _stages(
    facts: Facts, masked: bool, reads: bool, looks: bool, photos: bool
) -> tuple[str, ...]:
    r"""Of `WanPVTT.generate`, and what `run_edit` and `save_edit` add."""
    options, native = facts.options, facts.output.native
    stages = {
        'read the template': native,
        'encode text': True,
        'encode': True,
        'encode image': looks,
        'find the product': options.use_mask and not masked,
        'capture the reference': reads,
        'edit': True,
        'decode': True,
        'write': native,
        'measure': options.measure,
    }
    found = [name for name, runs in stages.items() if runs]
    if options.check_photo and photos:  # with another photo
        again = [name for name in found if name in AGAIN]
        after = found.index('decode') + 1
        found[after:after] = again
    return tuple(found)


def _check_required(inputs: EditInputs, options: EditOptions) -> None:
    for name in ('src_video', 'source_prompt', 'target_prompt'):
        if not (getattr(inputs, name) or '').strip():
            raise ValueError(f'{name} is missing.')
    if options.use_reference and not inputs.target_image:
        raise ValueError(
            'target_image is missing: a photo of the new product; '
            'use_reference false edits by text alone.')


def _check_reference(settings: Settings, photos: int, depth: int) -> None:
    r"""Check that what is said of the photos fits them and the model."""
    options = settings[EditOptions]
    edit, ref = settings[EditConfig], settings[RefConfig]
    if photos:
        ref.check_photos(photos)
    if ref.ref_layers.strip() and not ref.layers(depth):
        raise ValueError(
            f'ref_layers {ref.ref_layers} names no block of this model: it '
            f'has 0 to {depth - 1}.')
    if photos and ref.ref_rope == 'box' and not options.use_mask:
        raise ValueError(
            "ref_rope box needs the product's place in the video, which "
            'use_mask false does not look for.')
    if 'collage_zeta_scale' in settings.given and edit.collage_zeta_scale \
            and not (photos and options.use_mask):
        raise ValueError(
            f'collage_zeta_scale {edit.collage_zeta_scale} pastes a photo '
            f'into the mask, but use_reference is {options.use_reference} '
            f'and use_mask {options.use_mask}.')
    if options.ref_bank and ref.matched:
        raise ValueError('ref_bank cannot keep what ref_t match refills.')


def _reverse(facts, size, frames, checkpoint) -> torch.Tensor | None:
    r"""The clip to go back from, if that is asked for."""
    if not facts.options.reverse:
        return None
    if not facts.method.reversible:
        able = [name for name, m in EDIT_METHODS.items() if m.reversible]
        raise ValueError(
            f'reverse needs edit_method {" or ".join(able)}: '
            f'{facts.edit.edit_method} cannot be reversed.')
    return read_clip(
        'reverse', facts.options.reverse, size, checkpoint.config.sample_fps,
        frames, facts.inputs.fit)


def _reverse_notes(facts: Facts) -> list[str]:
    edit = facts.edit
    if not facts.options.reverse or 'zeta' not in facts.method.options:
        return []
    inside = edit.collage_zeta_scale if facts.collage else edit.fg_zeta_scale
    if max(inside, edit.bg_zeta_scale) <= REVERSIBLE_ZETA:
        return []
    return [f'Zeta above {REVERSIBLE_ZETA} erases the way back: the reverse '
            f'of such an edit is inexact.']


def run_edit(
    job: Job, pipe: WanPVTT, progress: Progress
) -> PVTTResult | NativeResult | None:
    r"""Edit a template video, and measure what became of its background."""
    (_, result), = pipe.together([
        editing(job, pipe, progress, kept_of(job))])
    if isinstance(result, Exception):
        raise result
    return result


def editing(
    job: Job, pipe: WanPVTT, progress: Progress, kept: Kept
) -> Editing:
    r"""The same for `WanPVTT.together`.

    Args:
        kept: from `kept_of`, of this job or of one of the same template.
    """
    options, data = job.settings[EditOptions], job.work.data
    if data.shot is not None:
        return (yield from editing_native(job, pipe, progress, kept))
    result = yield from calling(
        job, pipe, data.clip, data.mask, data.frames, options.use_mask, kept,
        progress)
    if result is not None and options.measure:
        with progress.stage('measure'):
            job.record.results['metrics'] = background_report(
                result.video, data.clip, result.round_trip, result.mask)
    return result


def save_edit(
    folder: Path, job: Job, result: PVTTResult | NativeResult,
    progress: Progress,
) -> None:
    r"""Write the edited video, and its `companions` that help to judge it."""
    data, path = job.work.data, folder / job.save_file.name
    if data.shot is not None:
        return save_native(path, job, result, progress)
    fps = job.checkpoint.config.sample_fps
    mask, comparison, sheet, _ = companions(path)
    cache_video(
        result.video[None], path, fps=fps, nrow=1, audio=data.sound,
        metadata=job.record.as_metadata())
    write_mask(mask, result, fps)
    if job.settings[EditOptions].save_comparison:
        write_comparison(
            comparison, sheet, data.clip, data.products, result.video, fps)
