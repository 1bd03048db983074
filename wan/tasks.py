r"""The task table: what each task needs, how it is checked and run.

A command line becomes a `Job` here. Everything the user gave is checked before
a weight is read; a bad value raises `ValueError` in one sentence.
"""
import logging
import math
import random
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from easydict import EasyDict

from .configs import SIZE_CONFIGS, SUPPORTED_SIZES, WAN_CONFIGS
from .edit_files import Inputs, read_inputs, save_edit
from .modules.attention import set_attention_backend
from .pipeline import (
    WanPipeline,
    check_checkpoint,
    default_device,
    default_dtype,
    read_config,
)
from .plan import Plan
from .pvtt import EditConfig, WanPVTT
from .text2video import WanT2V
from .utils.image import IMAGE_SUFFIXES
from .utils.metrics import background_report
from .utils.record import RunRecord, check_writable, default_save_path
from .utils.utils import cache_image, cache_video
from .utils.video_writer import VIDEO_SUFFIXES

log = logging.getLogger(__name__)

DTYPES = {'bfloat16': torch.bfloat16, 'float32': torch.float32}


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
    r"""One row of the table; the defaults stand for flags left out."""
    run: Callable[[Job, WanPipeline], Path]
    pipeline: type[WanPipeline]
    prompt: str | None = None
    size: str | None = None
    frame_num: int | None = None
    sample_steps: int = 50
    sample_shift: float = 5.0
    sample_guide_scale: float = 5.0
    suffixes: tuple[str, ...] = VIDEO_SUFFIXES


def family(task: str) -> str:
    r"""'t2v' of 't2v-14B'."""
    return task.partition('-')[0]


def task_names() -> list[str]:
    r"""The values --task allows."""
    return [n for n in WAN_CONFIGS if family(n) in TASKS] + ['pvtt']


def prepare(args: Namespace) -> Job:
    r"""Fill in defaults and check everything that can be checked unloaded.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    args = Namespace(**vars(args))
    task = TASKS[family(args.task)]
    if args.prompt is None and task.prompt:
        args.prompt = task.prompt
        log.info('No --prompt given, using: %s', args.prompt)
    for name in ('size', 'frame_num', 'sample_steps', 'sample_shift',
                 'sample_guide_scale'):
        if getattr(args, name) is None:
            setattr(args, name, getattr(task, name))
    _check_values(args)
    if args.base_seed < 0:
        args.base_seed = random.randint(0, 2**63 - 1)
    device, dtype = _device(args)
    config, sizes = _model(args)
    job = {'config': config, 'device': device, 'dtype': dtype}
    if args.task == 'pvtt':
        inputs = read_inputs(args, sizes)
        job |= _edit_plan(inputs)
        prompt = args.target_prompt
    else:
        job |= _text_plan(args, sizes)
        prompt = args.prompt
    path = Path(args.save_file or default_save_path(
        args.task, job['size'], args.base_seed, prompt, task.suffixes[0]))
    width, height = job['size']
    check_writable(path, task.suffixes, 3 * width * height * job['frame_num'])
    args.save_file = str(path)
    record = RunRecord(vars(args), args.base_seed)
    return Job(args=args, save_file=path, record=record, **job)


def _text_plan(args: Namespace, sizes: Sequence[str]) -> dict:
    if args.size not in sizes:
        raise ValueError(
            f'--size {args.size} is not supported by {args.task}; allowed: '
            f'{", ".join(sizes)}.')
    if family(args.task) == 't2i' and args.frame_num != 1:
        raise ValueError(
            f'--frame_num {args.frame_num}: an image has 1 frame.')
    if args.frame_num < 1 or args.frame_num % 4 != 1:
        raise ValueError(
            f'--frame_num {args.frame_num} is not allowed: it must be 4n + 1 '
            f'(1, 5, ..., 81).')
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
        'steps': max(1, round(edit.strength * edit.sample_steps)),
        'evaluations': branches[edit.edit_method] + (
            split and bool(inputs.products))}


def _check_values(args: Namespace) -> None:
    single = {'ulysses_size': 1, 'ring_size': 1, 't5_fsdp': False,
              'dit_fsdp': False}
    for name, only in single.items():
        if getattr(args, name) != only:
            raise ValueError(
                f'--{name} {getattr(args, name)} needs several GPUs; this '
                f'version runs on one device.')
    if args.sample_steps < 1:
        raise ValueError(
            f'--sample_steps {args.sample_steps}: at least 1 is needed.')
    if not (math.isfinite(args.sample_shift) and args.sample_shift > 0):
        raise ValueError(
            f'--sample_shift {args.sample_shift} must be above 0.')
    if not math.isfinite(args.sample_guide_scale):
        raise ValueError(
            f'--sample_guide_scale {args.sample_guide_scale} is no number.')
    if args.base_seed > 2**63 - 1:
        raise ValueError(
            f'--base_seed {args.base_seed} exceeds {2**63 - 1}.')


def _device(args: Namespace) -> tuple[torch.device, torch.dtype]:
    try:
        device = torch.device(args.device or default_device())
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f'--device {args.device} is not usable here: '
            f'{str(error).splitlines()[0]}') from error
    set_attention_backend(args.attention)
    dtype = DTYPES[args.dtype] if args.dtype else default_dtype(device)
    return device, dtype


def _model(args: Namespace) -> tuple[EasyDict, tuple[str, ...]]:
    r"""The config, and the sizes its model supports.

    --task pvtt takes any text-to-video checkpoint: its width tells which.
    """
    if args.ckpt_dir is None:
        raise ValueError('--ckpt_dir is missing: the folder of the weights.')
    if not Path(args.ckpt_dir).is_dir():
        raise ValueError(f'--ckpt_dir {args.ckpt_dir} is not a folder.')
    name, sizes = args.task, SUPPORTED_SIZES.get(args.task)
    if args.task == 'pvtt':
        dim = read_config(args.ckpt_dir).get('dim')
        names = [n for n, c in WAN_CONFIGS.items()
                 if family(n) == 't2v' and c.dim == dim]
        name = names[0] if names else 't2v-1.3B'
        sizes = SUPPORTED_SIZES[name] if names else tuple(SIZE_CONFIGS)
    check_checkpoint(args.ckpt_dir, WAN_CONFIGS[name])
    return WAN_CONFIGS[name], sizes


def plan(job: Job) -> str:
    r"""What `run` would do: stages, shapes, tokens, estimated memory."""
    return str(Plan.of(
        job.args.ckpt_dir, job.config, job.size, job.frame_num, job.steps,
        job.dtype, job.device, str(job.save_file), job.evaluations))


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
    pipe = pipe or load(job)
    path = TASKS[family(job.args.task)].run(job, pipe)
    # A pipeline may run several jobs: each records its own seconds.
    job.record.stages, pipe.stage_seconds = pipe.stage_seconds, {}
    job.record.write(path)
    log.info('Saved %s', path)
    return path


def run_text(job: Job, pipe: WanT2V) -> Path:
    r"""Text to video or, of one frame, text to image."""
    args = job.args
    video = pipe.generate(
        args.prompt, size=job.size, frame_num=job.frame_num,
        shift=args.sample_shift, sample_solver=args.sample_solver,
        sampling_steps=args.sample_steps, guide_scale=args.sample_guide_scale,
        n_prompt=_negative(args.n_prompt), seed=args.base_seed,
        offload_model=args.offload_model)
    metadata = job.record.as_metadata()
    with pipe.stage('save'):
        if job.save_file.suffix.lower() in IMAGE_SUFFIXES:
            return cache_image(
                video.squeeze(1)[None], job.save_file, nrow=1,
                metadata=metadata)
        return cache_video(
            video[None], job.save_file, fps=job.config.sample_fps, nrow=1,
            metadata=metadata)


def _negative(n_prompt: str | None) -> str:
    r"""An asked-for empty prompt becomes a blank: '' means the config's."""
    return '' if n_prompt is None else n_prompt or ' '


def run_pvtt(job: Job, pipe: WanPVTT) -> Path:
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
            'mask_on': result.mask is not None,
            'reference_on': bool(inputs.products) and any(inputs.ref.ref_c),
            'notes': inputs.notes}
    with pipe.stage('save'):
        save_edit(
            job.save_file, result, inputs, job.config.sample_fps,
            args.save_comparison, job.record.as_metadata())
    return job.save_file


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
