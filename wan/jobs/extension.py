r"""Prompt extension as a step of a job: checked early, run before the models.

The language model is gone before the video model is loaded.
"""
import gc
import logging
from dataclasses import dataclass

import torch

from ..utils.flags import check_choices, choice, path, switch
from ..utils.progress import Progress
from ..utils.prompt_extend import (
    LANGUAGES,
    DashScopePromptExpander,
    PromptOutput,
    QwenPromptExpander,
)
from .settings import Idle

log = logging.getLogger(__name__)

STAGE = 'extend prompt'
METHODS = ('dashscope', 'local_qwen')


@dataclass(frozen=True)
class ExtensionSettings:
    r"""Prompt extension by a language model.

    Args:
        use_prompt_extend: let a language model add detail to the prompt.
        prompt_extend_method: dashscope asks over the network, with
            DASH_API_KEY in the environment; local_qwen runs on this machine.
        prompt_extend_model: of dashscope, a name (default: qwen-plus); of
            local_qwen, a folder, a hub id or a short name (default:
            Qwen2.5_14B).
        prompt_extend_target_lang: language of the extended prompt.

    Raises:
        ValueError: a name that is not known.
    """
    use_prompt_extend: bool = switch()
    prompt_extend_method: str = choice('local_qwen', METHODS)
    prompt_extend_model: str | None = path()
    prompt_extend_target_lang: str = choice('zh', LANGUAGES)

    def __post_init__(self):
        check_choices(self)

    def check(self) -> None:
        r"""Check that the prompt can be extended, without loading a model.

        Raises:
            ValueError: the package, the key or the model is missing.
        """
        if not self.use_prompt_extend:
            return
        if self.prompt_extend_method == 'dashscope':
            DashScopePromptExpander(model_name=self.prompt_extend_model)
        else:
            QwenPromptExpander.locate(self.prompt_extend_model)


IDLE = Idle(
    ('prompt_extend_method', 'prompt_extend_model',
     'prompt_extend_target_lang'),
    lambda extension: not extension.use_prompt_extend,
    'use_prompt_extend is off')


def extend_prompt(
    prompt: str,
    extension: ExtensionSettings,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> PromptOutput:
    r"""Extend a prompt, and free the language model.

    Args:
        device: for a model on this machine.

    Raises:
        CheckpointError: a model on this machine that cannot be loaded.
    """
    kind = DashScopePromptExpander \
        if extension.prompt_extend_method == 'dashscope' \
        else QwenPromptExpander
    with progress.stage(STAGE):
        expander = kind(
            model_name=extension.prompt_extend_model, device=device)
        output = expander(
            prompt, tar_lang=extension.prompt_extend_target_lang, seed=seed)
        del expander
        gc.collect()
        if device.type == 'cuda':
            torch.cuda.empty_cache()
    if output.status:
        log.info('The prompt is extended to: %s', output.prompt)
    return output
