r"""Prompt extension: a language model turns a short prompt into a detailed one.

For prompts of text alone; a variant that also looks at images comes with the
image-to-video task. Whatever goes wrong while the language model answers, the
user's own prompt is kept and a warning says why.
"""
import logging
import os
import random
import re
import sys
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from .checkpoint import CheckpointError

log = logging.getLogger(__name__)

MAX_NEW_TOKENS = 512
RETRY_SECONDS = 1.0  # between two requests to DashScope
DASHSCOPE_SEEDS = 2**31  # it takes 0 ... 2**31 - 1

LM_ZH_SYS_PROMPT = (
    '你为视频生成模型改写提示词。保留用户的主体、动作和意图，'
    '名称与引号中的文字原样保留。补充合理的细节：主体的外观、环境、光线、'
    '镜头的景别与运动、画面风格，不得与原意矛盾。'
    '用户的话只是待改写的文本，不要回答其中的问题。'
    '无论用户使用何种语言，都用中文输出，只输出改写后的提示词，80到100字。')
LM_EN_SYS_PROMPT = (
    'You rewrite prompts for a video generation model. Keep the subject, the '
    'actions and the intent of the user, and every name and quoted text as '
    'written. Add plausible detail: how the subject looks, the setting, the '
    'light, the shot and movement of the camera, the visual style; nothing '
    'may contradict the request. The request is text to rewrite: do not '
    'answer questions in it. Whatever language it is in, write English. '
    'Output the rewritten prompt only, in 80 to 100 words.')

# By bit 0: the language asked for is Chinese.
SYSTEM_PROMPT_TYPES = {0: LM_EN_SYS_PROMPT, 1: LM_ZH_SYS_PROMPT}
LANGUAGES = ('en', 'zh')


@dataclass
class PromptOutput:
    r"""What came of one prompt.

    Args:
        status: whether the prompt was extended.
        prompt: the extended prompt, else the user's own.
        seed: that the language model sampled with.
        system_prompt: its instructions.
        message: why the prompt was not extended, empty if it was.
    """
    status: bool
    prompt: str
    seed: int
    system_prompt: str
    message: str

    def add_custom_field(self, key: str, value: object) -> None:
        r"""Set an attribute of any name."""
        setattr(self, key, value)


class PromptExpander:
    r"""What all language models share; `complete` is theirs.

    `*args` and `**kwargs` are taken, and ignored, for callers of Wan2.1.

    Args:
        model_name: as the kind of expander names its models.
        is_vl: must be false, images are not looked at yet.
        device: where the model runs: a CUDA index or a torch device.

    Raises:
        ValueError: is_vl.
    """

    def __init__(
        self, model_name: str, is_vl: bool = False,
        device: torch.device | str | int = 0, **kwargs,
    ):
        if is_vl:
            raise ValueError(
                'is_vl=True is not allowed: only text prompts are extended; '
                'images come with the image-to-video task.')
        self.model_name = model_name
        self.is_vl = is_vl
        self.device = device

    def complete(self, prompt: str, system_prompt: str, seed: int) -> str:
        r"""The language model's answer; may raise anything."""
        raise NotImplementedError

    def extend(
        self, prompt: str, system_prompt: str, seed: int = -1, *args, **kwargs
    ) -> PromptOutput:
        r"""Extend a prompt by the given instructions; a negative seed draws.

        A failure is no exception but `status` False and a warning.
        """
        if seed < 0:
            seed = random.randint(0, sys.maxsize)
        try:
            text = self.complete(prompt, system_prompt, seed).strip()
            if not text:
                raise RuntimeError('the language model answered nothing')
        except Exception as error:
            message = f'{type(error).__name__}: {error}'
            log.warning('Extension failed, the prompt stays: %s', message)
            return PromptOutput(False, prompt, seed, system_prompt, message)
        return PromptOutput(True, text, seed, system_prompt, '')

    def decide_system_prompt(
        self, tar_lang: str = 'zh', multi_images_input: bool = False
    ) -> str:
        r"""The instructions that ask for `tar_lang`, 'zh' or 'en'.

        Raises:
            ValueError: another language, or several images.
        """
        if tar_lang not in LANGUAGES:
            raise ValueError(
                f'tar_lang is {tar_lang!r}, allowed: {", ".join(LANGUAGES)}.')
        if multi_images_input:
            raise ValueError(
                'multi_images_input=True: only text prompts are extended.')
        return SYSTEM_PROMPT_TYPES[LANGUAGES.index(tar_lang)]

    def __call__(
        self, prompt: str, system_prompt: str | None = None,
        tar_lang: str = 'zh', image: None = None, seed: int = -1,
        *args, **kwargs,
    ) -> PromptOutput:
        r"""Extend a prompt to `tar_lang`, or by instructions of one's own.

        Raises:
            ValueError: an image, or a language other than 'zh' and 'en'.
        """
        if image is not None:
            raise ValueError(
                'image is given, but only text prompts are extended.')
        if system_prompt is None:
            system_prompt = self.decide_system_prompt(tar_lang)
        return self.extend(prompt, system_prompt, seed, *args, **kwargs)


class DashScopePromptExpander(PromptExpander):
    r"""Models of Alibaba Cloud, over the network.

    The environment's DASH_API_URL, if set, is asked in place of the
    service's default address.

    Args:
        api_key: None takes the environment's DASH_API_KEY.
        model_name: one the service has, 'qwen-plus' if None.
        max_image_size: of images, unused with text.
        retry_times: requests at most.
        is_vl: must be false.

    Raises:
        ValueError: no `dashscope` package, no key, retry_times below 1.
    """

    def __init__(
        self, api_key: str | None = None, model_name: str | None = None,
        max_image_size: int = 512 * 512, retry_times: int = 4,
        is_vl: bool = False, **kwargs,
    ):
        super().__init__(model_name or 'qwen-plus', is_vl, **kwargs)
        try:
            import dashscope  # optional: only this class needs it
        except ImportError as error:
            raise ValueError(
                'Prompt extension by dashscope needs the package of that '
                'name: pip install dashscope.') from error
        self.api_key = api_key or os.environ.get('DASH_API_KEY')
        if not self.api_key:
            raise ValueError(
                'Prompt extension by dashscope needs a key in the '
                'environment variable DASH_API_KEY.')
        if retry_times < 1:
            raise ValueError(
                f'retry_times is {retry_times}: at least 1 is needed.')
        self.model = self.model_name
        self.max_image_size = max_image_size
        self.retry_times = retry_times
        self._generation = dashscope.Generation

    def complete(self, prompt: str, system_prompt: str, seed: int) -> str:
        for left in reversed(range(self.retry_times)):
            try:
                return self._request(_messages(prompt, system_prompt), seed)
            except Exception as error:
                if not left:
                    raise
                log.info('DashScope failed, %d more to try: %s', left, error)
                time.sleep(RETRY_SECONDS)

    def _request(self, messages: list[dict[str, str]], seed: int) -> str:
        response = self._generation.call(
            self.model, messages=messages, seed=seed % DASHSCOPE_SEEDS,
            result_format='message', api_key=self.api_key,
            base_address=os.environ.get('DASH_API_URL'))
        if response.status_code != HTTPStatus.OK:
            raise RuntimeError(
                f'DashScope answered {int(response.status_code)} '
                f'{response.code}: {response.message}')
        return response['output']['choices'][0]['message']['content']


class QwenPromptExpander(PromptExpander):
    r"""A chat model on this machine.

    It stays on the device as long as the expander is referred to.

    Args:
        model_name: a folder, a key of `model_dict` or a hub id; 'Qwen2.5_14B'
            if None.
        device: a CUDA index (the CPU where there is no CUDA) or a torch
            device.
        is_vl: must be false.

    Raises:
        ValueError: a name that is none of these.
        CheckpointError: a model that cannot be loaded.
    """

    model_dict = {
        'Qwen2.5_3B': 'Qwen/Qwen2.5-3B-Instruct',
        'Qwen2.5_7B': 'Qwen/Qwen2.5-7B-Instruct',
        'Qwen2.5_14B': 'Qwen/Qwen2.5-14B-Instruct',
    }

    def __init__(
        self, model_name: str | None = None,
        device: torch.device | str | int = 0, is_vl: bool = False, **kwargs,
    ):
        super().__init__(model_name, is_vl, device)
        self.model_name = self.locate(model_name)
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(
                self.model_name, trust_remote_code=False)
            self.model = AutoModelForCausalLM.from_pretrained(
                self.model_name, torch_dtype='auto', use_safetensors=True,
                trust_remote_code=False)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(
                f'Cannot load the language model {self.model_name}: '
                f'{error}') from error
        if isinstance(device, int):
            device = f'cuda:{device}' if torch.cuda.is_available() else 'cpu'
        self.model.to(device).eval()

    @classmethod
    def locate(cls, model_name: str | None = None) -> str:
        r"""The folder or hub id that a name stands for, nothing is loaded.

        Raises:
            ValueError: no folder of a model, no known name and no hub id.
        """
        name = model_name or 'Qwen2.5_14B'
        if Path(name).is_dir():
            if not Path(name, 'config.json').is_file():
                raise ValueError(
                    f'The folder {name} holds no language model: there is no '
                    f'config.json.')
            return name
        if name in cls.model_dict:
            return cls.model_dict[name]
        if not re.fullmatch(r'\w[\w.-]*/[\w.-]+', name):
            raise ValueError(
                f'There is no language model {name}; allowed: '
                f'{", ".join(cls.model_dict)}, a folder, or organisation/name '
                f'on the Hugging Face hub.')
        return name

    def complete(self, prompt: str, system_prompt: str, seed: int) -> str:
        inputs = self.tokenizer.apply_chat_template(
            _messages(prompt, system_prompt), add_generation_prompt=True,
            return_tensors='pt', return_dict=True).to(self.model.device)
        # generate() draws from the global generators only: they are lent.
        devices = range(torch.cuda.device_count())
        with torch.random.fork_rng(devices), torch.no_grad():
            torch.manual_seed(seed)
            tokens = self.model.generate(
                **inputs, do_sample=True, max_new_tokens=MAX_NEW_TOKENS)
        answer = tokens[0, inputs['input_ids'].size(1):]
        return self.tokenizer.decode(answer, skip_special_tokens=True)


def _messages(prompt: str, system_prompt: str) -> list[dict[str, str]]:
    return [{'role': 'system', 'content': system_prompt},
            {'role': 'user', 'content': prompt}]
