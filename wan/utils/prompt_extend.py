r"""Prompt extension: a language model turns a short prompt into a detailed one.

One that sees images (`is_vl`) is given those that the video is made from.
"""
from .dashscope_expander import DashScopePromptExpander
from .prompt_expander import PromptExpander, PromptOutput
from .prompt_texts import (
    LANGUAGES,
    LM_EN_SYS_PROMPT,
    LM_ZH_SYS_PROMPT,
    SYSTEM_PROMPT_TYPES,
    VL_EN_SYS_PROMPT,
    VL_EN_SYS_PROMPT_FOR_MULTI_IMAGES,
    VL_ZH_SYS_PROMPT,
    VL_ZH_SYS_PROMPT_FOR_MULTI_IMAGES,
)
from .qwen_expander import QwenPromptExpander

__all__ = [
    'LANGUAGES',
    'LM_EN_SYS_PROMPT',
    'LM_ZH_SYS_PROMPT',
    'SYSTEM_PROMPT_TYPES',
    'VL_EN_SYS_PROMPT',
    'VL_EN_SYS_PROMPT_FOR_MULTI_IMAGES',
    'VL_ZH_SYS_PROMPT',
    'VL_ZH_SYS_PROMPT_FOR_MULTI_IMAGES',
    'DashScopePromptExpander',
    'PromptExpander',
    'PromptOutput',
    'QwenPromptExpander',
]
