r"""How a job calls the editing pipeline, and what it records of the answer."""
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from ..edit_config import EditConfig
from ..pvtt import Editing, WanPVTT
from ..refdrop.config import RefConfig
from ..sparse import SparseConfig
from ..step_cache import StepCacheConfig
from ..utils.checkpoint import fingerprint
from ..utils.kept import Kept, KeptIn, key_of
from ..utils.progress import Progress
from ..utils.sources import source_digest
from .edit_check import effect_notes, photo_effect, recoloured
from .edit_settings import EditInputs, EditOptions
from .settings import JobSettings
from .task import Job
from .text import negative

log = logging.getLogger(__name__)

# Encoded once, whether the product is looked for or edited.
TEXTS = ('text.source', 'text.target', 'text.null')


def common(job: Job, kept: Kept, progress: Progress) -> dict[str, object]:
    r"""Arguments of all methods of `WanPVTT` that run the model."""
    inputs = job.settings[EditInputs]
    return {
        'source_prompt': inputs.source_prompt,
        'target_prompt': inputs.target_prompt,
        'source_blend': inputs.source_blend,
        'target_blend': inputs.target_blend,
        'seed': job.settings[JobSettings].base_seed,
        'n_prompt': negative(inputs.n_prompt),
        'offload_model': job.runtime.offload_model,
        'windows': job.work.windows, 'kept': kept, 'progress': progress}


def kept_of(
    job: Job, folder: str | Path | None = None, many: bool = False
) -> Kept:
    r"""What is encoded once: in the folder of the job's template or, without
    one, in memory.

    Args:
        folder: of a template that is being made.
        many: whether several jobs share it.
    """
    names = TEXTS + ('latent',) * (
        many or job.settings[EditOptions].check_photo)
    folder = folder or job.settings[EditInputs].template
    if folder is None or job.work.data.shot is None:
        return Kept(names)
    files, runtime = job.checkpoint, job.runtime
    place = runtime.torch_device.type, source_digest('modules', 'pipeline')
    text = key_of(_state(files.text_encoder_file), runtime.t5_cpu, *place)
    latent = key_of(_state(files.vae_file), runtime.vae_tiling, *place)
    return KeptIn(
        Path(folder),
        {'latent': latent, 'text.source': text, 'text.null': text}, names,
        lambda text: note(job, (text,)))


def _state(weights: Path) -> str:
    r"""Of a network, with what describes it."""
    beside = weights.with_suffix('.json')
    return fingerprint([weights, beside] if beside.is_file() else [weights])


def calling(
    job: Job,
    pipe: WanPVTT,
    clip: torch.Tensor,
    mask: torch.Tensor | None,
    frames: Mapping[str, torch.Tensor],
    use_mask: bool,
    kept: Kept,
    progress: Progress,
) -> Editing:
    r"""Edit a clip as `WanPVTT.editing` does.

    What it says goes into the record.

    Args:
        clip: [3, 4n + 1, H, W] in [-1, 1].
        mask: of it, [1 or F, H, W]; None where it is to be found, if
            `use_mask`.
        frames: edited frames that are given.
    """
    options, data = job.settings[EditOptions], job.work.data

    given = {
        'src_video': clip, 'edit': job.settings[EditConfig],
        'ref': job.settings[RefConfig], 'src_mask': mask,
        'use_mask': use_mask, 'reverse_from': data.reverse_from,
        'frames': frames, 'context_scale': options.context_scale,
        'finding': data.finding, 'sparse': job.settings[SparseConfig],
        'step_cache': job.settings[StepCacheConfig],
        **common(job, kept, progress)}
    result = yield from pipe.editing(
        products=data.products, ref_bank=options.ref_bank,
        round_trip=options.measure and options.measure_ceiling
        and data.shot is None, **given)
    other = None
    if options.check_photo and data.products:
        # A bank is of the right photos.
        other = pipe.generate(
            products=tuple(map(recoloured, data.products)), **given)
    if result is None:  # another process has it
        return None
    note(job, result.notes)
    if other is not None:
        effect = photo_effect(result, other)
        job.record.results['photo_effect'] = effect
        note(job, effect_notes(effect))
    job.record.results |= {
        'edit': asdict(result.edit), 'reference': asdict(result.ref),
        **{f'{name}_on': used for name, used in result.used.items()}}
    return result


def note(job: Job, notes: tuple[str, ...]) -> None:
    r"""Tell the user, now and in the record."""
    for text in notes:
        log.warning(text)
    job.record.results['notes'] += notes
