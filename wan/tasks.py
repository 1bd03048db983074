r"""The task table: what each task needs, how it is checked and run.

A command line becomes a `Job` here. Everything the user gave is checked before
a weight is read; a bad value raises `ValueError` in one sentence.
"""
import logging
import os
import random
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from easydict import EasyDict

from .configs import SIZE_CONFIGS, WAN_CONFIGS
from .edit_config import GUIDE_SCALES, EditConfig
from .flowalign import edit_sigmas
from .jobs.checks import (
    check_outputs,
    check_values,
    check_words,
    embedded_checkpoint,
    family,
    read_model,
    usable_device,
)
from .jobs.edit_files import Inputs, companions, read_inputs, save_edit
from .jobs.extension import check_extension, extend_prompt
from .jobs.plan import Plan
from .pipeline import WanPipeline
from .pvtt import WanPVTT, pastes
from .text2video import WanT2V
from .utils.image import IMAGE_SUFFIXES
from .utils.metrics import background_report
from .utils.record import RunRecord, check_writable, default_save_path
from .utils.utils import cache_image, cache_video
from .utils.video_writer import VIDEO_SUFFIXES

log = logging.getLogger(__name__)

# Flags that name files a run reads.
INPUTS = (
    'config', 'src_video', 'src_mask', 'target_image', 'target_mask',
    'reverse', 'ref_bank')
# Flags whose defaults stand in the table.
DEFAULTS = ('prompt', 'size', 'frame_num', 'sample_steps', 'sample_shift',
            'sample_guide_scale')


@dataclass(frozen=True)
class Job:
    r"""A command line whose values are all there and all checked.

    Args:
        size: (width, height) in pixels.
        evaluations: of the model in one step.
        steps: that are run.
        inputs: what pvtt was given, read.
    """
    args: Namespace
    config: EasyDict
    device: torch.device
    dtype: torch.dtype
    size: tuple[int, int]
    frame_num: int
    steps: int
    evaluations: int
    save_file: Path
    record: RunRecord
    inputs: Inputs | None = None


@dataclass(frozen=True)
class Task:
    r"""One row of the table; its values are the defaults of flags.

    A model's config may have its own, see `defaults`.
    """
    run: Callable[[Job, WanPipeline], None]
    pipeline: type[WanPipeline]
    prompt: str | None = None
    size: str | None = None
    frame_num: int | None = None
    sample_steps: int = 50
    sample_shift: float = 5.0
    sample_guide_scale: float = 5.0
    suffixes: tuple[str, ...] = VIDEO_SUFFIXES


def task_names() -> list[str]:
    r"""The values --task allows."""
    return [n for n in WAN_CONFIGS if family(n) in TASKS] + ['pvtt']


def defaults(task: str, config: Mapping) -> dict[str, object]:
    r"""What flags left out mean: the model's own word, else the task's."""
    row, own = TASKS[family(task)], config.get('defaults', {})
    return {name: getattr(row, name) for name in DEFAULTS} | own.get(
        family(task), {})


def prepare(args: Namespace) -> Job:
    r"""Fill in defaults and check everything that can be checked unloaded.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    args = Namespace(**vars(args))
    if args.ckpt_dir is None:
        args.ckpt_dir = embedded_checkpoint(args.task)
        log.info('No --ckpt_dir given, using the small embedded model in %s; '
                 'official weights come with --ckpt_dir.', args.ckpt_dir)
    config, sizes, model = read_model(args)
    _fill(args, config, sizes)
    check_values(args)
    if args.use_prompt_extend:
        check_extension(args)
    if args.offload_model is None:
        args.offload_model = True
    if args.base_seed < 0:
        args.base_seed = random.randint(0, 2**63 - 1)
    device, dtype = usable_device(args)
    job = {'config': config, 'device': device, 'dtype': dtype}
    if args.task == 'pvtt':
        inputs = read_inputs(args, sizes, model.num_layers)
        check_words(args, config, model.text_len)
        job |= _edit_plan(inputs)
        prompt = args.target_prompt
    else:
        job |= _text_plan(args, sizes)
        prompt = args.prompt
    suffixes = TASKS[family(args.task)].suffixes
    path = Path(args.save_file or default_save_path(
        args.task, job['size'], args.base_seed, prompt, suffixes[0]))
    width, height = job['size']
    check_writable(path, suffixes, 3 * width * height * job['frame_num'])
    beside = companions(path).values() if args.task == 'pvtt' else ()
    check_outputs(
        [path, path.with_suffix('.json'), *beside],
        [getattr(args, name) for name in INPUTS])
    args.save_file = str(path)
    record = RunRecord(vars(args), args.base_seed)
    return Job(args=args, save_file=path, record=record, **job)


def _fill(args: Namespace, config: EasyDict, sizes: Sequence[str]) -> None:
    r"""Give the flags left out their values."""
    values, method = defaults(args.task, config), args.edit_method
    if values['size'] not in (None, *sizes):
        # The widest where the model does not have the usual one.
        values['size'] = max(sizes, key=lambda size: SIZE_CONFIGS[size][0])
    if args.task == 'pvtt' and method != EditConfig.edit_method:
        values['sample_guide_scale'] = GUIDE_SCALES.get(
            method, values['sample_guide_scale'])
    if args.prompt is None and values['prompt']:
        log.info('No --prompt given, using: %s', values['prompt'])
    for name, value in values.items():
        if getattr(args, name) is None:
            setattr(args, name, value)


def _text_plan(args: Namespace, sizes: Sequence[str]) -> dict:
    if args.size not in sizes:
        raise ValueError(
            f'--size {args.size} is not supported by {args.task}; allowed: '
            f'{", ".join(sizes)}.')
    if family(args.task) == 't2i' and args.frame_num != 1:
        raise ValueError(
            f'--frame_num {args.frame_num}: an image has 1 frame.')
    if not args.prompt.strip():
        raise ValueError('--prompt is empty: say what to show.')
    return {
        'size': SIZE_CONFIGS[args.size], 'frame_num': args.frame_num,
        'steps': args.sample_steps,
        'evaluations': 1 if args.sample_guide_scale == 1 else 2}


def _edit_plan(inputs: Inputs) -> dict:
    for note in inputs.notes:
        log.info(note)
    edit, split = inputs.edit, inputs.ref.ref_branches == 'split'
    branches = {'flowalign': 3, 'flowedit': 4, 'sdedit': 2}
    return {
        'inputs': inputs, 'size': inputs.size,
        'frame_num': inputs.clip.size(1),
        'steps': len(edit_sigmas(
            edit.sample_steps, edit.sample_shift, edit.strength)) - 1,
        'evaluations': branches[edit.edit_method] + (
            split and bool(inputs.products) and any(inputs.ref.ref_c))}


def plan(job: Job) -> str:
    r"""What `run` would do: stages, shapes, tokens, estimated memory."""
    text = str(Plan.of(
        job.args.ckpt_dir, job.config, job.size, job.frame_num, job.steps,
        job.dtype, job.device, str(job.save_file), job.evaluations))
    if job.args.use_prompt_extend:
        text += (f'\nprompt       extended before by '
                 f'{job.args.prompt_extend_method}')
    return text


def load(job: Job) -> WanPipeline:
    r"""The job's pipeline, its checkpoint loaded."""
    args = job.args
    return TASKS[family(args.task)].pipeline(
        job.config, args.ckpt_dir, t5_cpu=args.t5_cpu, device=job.device,
        dtype=job.dtype, vae_tiling=args.vae_tiling,
        cache_text=args.cache_text)


def run(job: Job, pipe: WanPipeline | None = None) -> Path:
    r"""Do the job, on a loaded pipeline if there is one.

    Returns:
        The file written; its record lies beside it.
    """
    if job.args.use_prompt_extend:
        job = _extended(job)
    pipe = pipe or load(job)
    job.record.stages |= pipe.stage_seconds
    pipe.stage_seconds = job.record.stages
    try:
        TASKS[family(job.args.task)].run(job, pipe)
    finally:
        # A pipeline may run several jobs: each records its own seconds.
        pipe.stage_seconds = {}
    log.info('Saved %s', job.save_file)
    return job.save_file


@contextmanager
def _saving(job: Job, pipe: WanPipeline) -> Iterator[Path]:
    r"""Where to write the result; all files appear together or none does."""
    target = job.save_file
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.', dir=target.parent) as folder:
        path = Path(folder, target.name)
        with pipe.stage('save'):
            yield path
        job.record.write(path)
        if job.inputs is not None:
            # What this edit does not write must not seem to be of it.
            for old in companions(target).values():
                if not Path(folder, old.name).exists():
                    old.unlink(missing_ok=True)
        # The record last: where it is, the rest is.
        files = path.parent.iterdir()
        for file in sorted(files, key=lambda f: f.suffix == '.json'):
            os.replace(file, target.with_name(file.name))


def _extended(job: Job) -> Job:
    r"""The job with its prompt extended; the record keeps both prompts."""
    args, start = job.args, time.perf_counter()
    output = extend_prompt(args, job.device)
    job.record.stages['extend prompt'] = time.perf_counter() - start
    job.record.results |= {
        'prompt_extended': output.prompt if output.status else None,
        'prompt_extend_failure': output.message or None}
    return replace(
        job, args=Namespace(**vars(args) | {'prompt': output.prompt}))


def run_text(job: Job, pipe: WanT2V) -> None:
    r"""Text to video or, of one frame, text to image."""
    args = job.args
    video = pipe.generate(
        args.prompt, size=job.size, frame_num=job.frame_num,
        shift=args.sample_shift, sample_solver=args.sample_solver,
        sampling_steps=args.sample_steps, guide_scale=args.sample_guide_scale,
        n_prompt=_negative(args.n_prompt), seed=args.base_seed,
        offload_model=args.offload_model)
    metadata = job.record.as_metadata()
    with _saving(job, pipe) as path:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            cache_image(
                video.squeeze(1)[None], path, nrow=1, metadata=metadata)
        else:
            cache_video(
                video[None], path, fps=job.config.sample_fps, nrow=1,
                metadata=metadata)


def _negative(n_prompt: str | None) -> str:
    r"""An asked-for empty prompt becomes a blank: '' means the config's."""
    return '' if n_prompt is None else n_prompt or ' '


def run_pvtt(job: Job, pipe: WanPVTT) -> None:
    r"""Edit a template video."""
    args, inputs = job.args, job.inputs
    result = pipe.generate(
        inputs.clip, inputs.products, args.source_prompt, args.target_prompt,
        edit=inputs.edit, ref=inputs.ref, src_mask=inputs.mask,
        source_blend=args.source_blend or '',
        target_blend=args.target_blend or '', use_mask=args.use_mask,
        n_prompt=_negative(args.n_prompt), ref_bank=args.ref_bank,
        reverse_from=inputs.reverse_from, seed=args.base_seed,
        offload_model=args.offload_model)
    with pipe.stage('measure'):
        job.record.results = {
            'metrics': background_report(
                result.video, inputs.clip, result.round_trip, result.mask),
            'edit': asdict(inputs.edit), 'reference': asdict(inputs.ref),
            # A mask of everything, as when nothing was found, limits nothing.
            'mask_on': result.mask is not None and bool(
                (result.mask < 1).any()),
            'reference_on': bool(inputs.products) and inputs.ref.reads(
                len(pipe.model.blocks), job.steps),
            'collage_on': pastes(
                inputs.edit, inputs.ref, inputs.products, inputs.mask),
            'notes': inputs.notes}
    with _saving(job, pipe) as path:
        save_edit(
            path, result, inputs, job.config.sample_fps,
            args.save_comparison, job.record.as_metadata())


TASKS = {
    't2v': Task(
        run=run_text, pipeline=WanT2V, size='1280*720', frame_num=81,
        prompt='Two anthropomorphic cats in comfy boxing gear and bright '
        'gloves fight intensely on a spotlighted stage.'),
    't2i': Task(
        run=run_text, pipeline=WanT2V, size='1280*720', frame_num=1,
        prompt='一个朴素端庄的美人', suffixes=IMAGE_SUFFIXES),
    'pvtt': Task(
        run=run_pvtt, pipeline=WanPVTT,
        sample_guide_scale=EditConfig.sample_guide_scale),
}
