r"""What must hold before a weight is read; what does not is a ValueError."""
import math
from argparse import Namespace
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import torch
from easydict import EasyDict

from ..configs import SIZE_CONFIGS, SUPPORTED_SIZES, WAN_CONFIGS
from ..modules.attention import set_attention_backend
from ..modules.model import WanModel
from ..modules.tokenizers import HuggingfaceTokenizer
from ..pipeline import default_device, default_dtype
from ..utils.checkpoint import check_checkpoint
from ..utils.record import check_writable

DEVICES = ('cuda', 'mps', 'cpu')
DTYPES = {'bfloat16': torch.bfloat16, 'float32': torch.float32}
# One frame more is what `read_video` reads in one go, to see what is left.
MAX_FRAME_NUM = 1997
MODEL_TYPES = {'t2i': 't2v', 'pvtt': 't2v'}
# The small model that comes with the repository, and who can do with it.
EMBEDDED = Path(__file__).parents[2] / 'checkpoints' / 'tiny'
EMBEDDED_TASKS = ('t2v-tiny', 'pvtt')


def family(task: str) -> str:
    r"""'t2v' of 't2v-14B'."""
    return task.partition('-')[0]


def check_values(args: Namespace) -> None:
    r"""See that every number is in its range."""
    single = {'ulysses_size': 1, 'ring_size': 1, 't5_fsdp': False,
              'dit_fsdp': False}
    for name, only in single.items():
        if getattr(args, name) != only:
            raise ValueError(
                f'--{name} {getattr(args, name)} needs several GPUs; this '
                f'version runs on one device.')
    frames = args.frame_num
    if frames is not None and not (
            1 <= frames <= MAX_FRAME_NUM and frames % 4 == 1):
        raise ValueError(
            f'--frame_num {frames} is not allowed: it must be 4n + 1 (1, 5, '
            f'..., {MAX_FRAME_NUM}).')
    if args.sample_steps < 1:
        raise ValueError(
            f'--sample_steps {args.sample_steps}: at least 1 is needed.')
    if not (math.isfinite(args.sample_shift) and args.sample_shift > 0):
        raise ValueError(
            f'--sample_shift {args.sample_shift} must be above 0.')
    if not math.isfinite(args.sample_guide_scale):
        raise ValueError(
            f'--sample_guide_scale {args.sample_guide_scale} must be a '
            f'finite number.')
    if args.base_seed > 2**63 - 1:
        raise ValueError(
            f'--base_seed {args.base_seed} exceeds {2**63 - 1}.')


def usable_device(args: Namespace) -> tuple[torch.device, torch.dtype]:
    r"""The device asked for, or the best one, and the dtype to use there."""
    try:
        device = torch.device(args.device or default_device())
        if device.type not in DEVICES:
            raise RuntimeError(f'known are {", ".join(DEVICES)}')
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip('.')
        raise ValueError(
            f'--device {args.device} is not usable here: {reason}.'
        ) from error
    set_attention_backend(args.attention)
    return device, DTYPES.get(args.dtype) or default_dtype(device)


def embedded_checkpoint(task: str) -> str:
    r"""The folder that a --ckpt_dir left out means.

    Raises:
        ValueError: the task needs another model, or the folder is not there.
    """
    if task not in EMBEDDED_TASKS:
        raise ValueError(
            f'--ckpt_dir is missing: the folder of the weights (only '
            f'{" and ".join(EMBEDDED_TASKS)} can do with the embedded model).')
    if not EMBEDDED.is_dir():
        raise ValueError(
            f'--ckpt_dir is missing, and the embedded model is not at '
            f'{EMBEDDED}: it comes with a clone of the repository, not with '
            f'an installed package.')
    return str(EMBEDDED)


def read_model(
    args: Namespace
) -> tuple[EasyDict, tuple[str, ...], WanModel]:
    r"""The config, the sizes it supports, and the network without weights.

    --task pvtt takes any text-to-video checkpoint: its width tells which.
    """
    # The files that all text-to-video checkpoints share have one name.
    name = 't2v-14B' if args.task == 'pvtt' else args.task
    check_checkpoint(args.ckpt_dir, WAN_CONFIGS[name])
    model = WanModel.empty(args.ckpt_dir)
    wanted = MODEL_TYPES.get(family(args.task), family(args.task))
    if model.model_type != wanted:
        raise ValueError(
            f'--task {args.task} needs a checkpoint of type {wanted}, '
            f'{args.ckpt_dir} is of type {model.model_type}.')
    if args.task != 'pvtt':
        return WAN_CONFIGS[name], SUPPORTED_SIZES[name], model
    for name, config in WAN_CONFIGS.items():
        if family(name) == 't2v' and config.dim == model.dim:
            return config, SUPPORTED_SIZES[name], model
    return WAN_CONFIGS['t2v-1.3B'], tuple(SIZE_CONFIGS), model


def check_words(args: Namespace, config: EasyDict, text_len: int) -> None:
    r"""See that the words to find the product by are in their prompts."""
    for side in ('source', 'target'):
        words = getattr(args, f'{side}_blend')
        if not words:
            continue
        tokenizer = _tokenizer(
            Path(args.ckpt_dir, config.t5_tokenizer), text_len)
        try:
            tokenizer.token_positions(getattr(args, f'{side}_prompt'), words)
        except ValueError as error:
            raise ValueError(f'--{side}_blend: {error}') from error


@lru_cache(1)
def _tokenizer(folder: Path, seq_len: int) -> HuggingfaceTokenizer:
    return HuggingfaceTokenizer(folder, seq_len, clean='whitespace')


def check_outputs(
    outputs: Iterable[Path], inputs: Iterable[str | None]
) -> None:
    r"""See that all files can be written, and that none is an input.

    Args:
        inputs: paths, several in one separated by commas; None for no file.
    """
    read = {
        Path(path).resolve() for paths in inputs if paths
        for path in str(paths).split(',')
    }
    for path in outputs:
        check_writable(path)
        if path.resolve() in read:
            raise ValueError(
                f'Cannot write {path}: it is an input; choose another '
                f'--save_file.')
