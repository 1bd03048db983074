r"""Prompt extension as a step of a job: checked early, run before the models.

The language model is gone before the video model is loaded.
"""
import gc
import logging
from argparse import Namespace

import torch

from ..utils.prompt_extend import (
    DashScopePromptExpander,
    PromptOutput,
    QwenPromptExpander,
)

log = logging.getLogger(__name__)


def check_extension(args: Namespace) -> None:
    r"""See that the prompt can be extended, without loading a model.

    Raises:
        ValueError: --task pvtt, or the package, the key or the model is
            missing.
    """
    if args.task == 'pvtt':
        raise ValueError(
            '--use_prompt_extend is not for --task pvtt: its source and '
            'target prompt must differ in the product alone.')
    if args.prompt_extend_method == 'dashscope':
        DashScopePromptExpander(model_name=args.prompt_extend_model)
    else:
        QwenPromptExpander.locate(args.prompt_extend_model)


def extend_prompt(args: Namespace, device: torch.device) -> PromptOutput:
    r"""Extend --prompt, seeded by --base_seed, and free the language model.

    Args:
        device: for a model on this machine.

    Raises:
        CheckpointError: a model on this machine that cannot be loaded.
    """
    kind = {'dashscope': DashScopePromptExpander,
            'local_qwen': QwenPromptExpander}[args.prompt_extend_method]
    expander = kind(model_name=args.prompt_extend_model, device=device)
    output = expander(
        args.prompt, tar_lang=args.prompt_extend_target_lang,
        seed=args.base_seed)
    del expander
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.empty_cache()
    if output.status:
        log.info('The prompt is extended to: %s', output.prompt)
    return output
