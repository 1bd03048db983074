r"""Prompt extension by a Qwen2.5 model on this machine."""
import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from .checkpoint import CheckpointError
from .prompt_expander import PromptExpander, messages

MAX_NEW_TOKENS = 512
VISION_TYPE = 'qwen2_5_vl'  # model_type of those that see images


class QwenPromptExpander(PromptExpander):
    r"""A chat model on this machine.

    It stays on the device as long as the expander is referred to.

    Args:
        model_name: a folder, a key of `model_dict` or a hub id; None is
            'Qwen2.5_14B', or 'QwenVL2.5_7B' for images.
        device: a CUDA index (the CPU where there is no CUDA) or a torch
            device.
        is_vl: whether it is one that sees images.

    Raises:
        ValueError: a name that is none of these.
        CheckpointError: a model that cannot be loaded.
    """

    model_dict = {
        'QwenVL2.5_3B': 'Qwen/Qwen2.5-VL-3B-Instruct',
        'QwenVL2.5_7B': 'Qwen/Qwen2.5-VL-7B-Instruct',
        'Qwen2.5_3B': 'Qwen/Qwen2.5-3B-Instruct',
        'Qwen2.5_7B': 'Qwen/Qwen2.5-7B-Instruct',
        'Qwen2.5_14B': 'Qwen/Qwen2.5-14B-Instruct',
    }

    def __init__(
        self, model_name: str | None = None,
        device: torch.device | str | int = 0, is_vl: bool = False, **kwargs,
    ):
        super().__init__(model_name, is_vl, device)
        self.model_name = self.locate(model_name, is_vl)
        reader, network = AutoTokenizer, AutoModelForCausalLM
        if is_vl:
            from .qwen_vl import StillProcessor, VisionModel
            reader, network = StillProcessor, VisionModel
        try:
            self.processor = reader.from_pretrained(
                self.model_name, trust_remote_code=False)
            self.model = network.from_pretrained(
                self.model_name, torch_dtype='auto', use_safetensors=True,
                trust_remote_code=False)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(
                f'Cannot load the language model {self.model_name}: '
                f'{error}') from error
        self.tokenizer = self.processor.tokenizer if is_vl else self.processor
        if isinstance(device, int):
            device = f'cuda:{device}' if torch.cuda.is_available() else 'cpu'
        self.model.to(device).eval()

    @classmethod
    def locate(
        cls, model_name: str | None = None, is_vl: bool = False
    ) -> str:
        r"""The folder or hub id that a name stands for, nothing is loaded.

        Raises:
            ValueError: no folder of a model, no known name and no hub id, or
                one that sees images where `is_vl` is False and vice versa.
        """
        name = model_name or ('QwenVL2.5_7B' if is_vl else 'Qwen2.5_14B')
        if Path(name).is_dir():
            _check_folder(name, is_vl)
            return name
        able = {key: value for key, value in cls.model_dict.items()
                if key.startswith('QwenVL') == is_vl}
        if name in able:
            return able[name]
        if name in cls.model_dict or not re.fullmatch(
                r'\w[\w.-]*/[\w.-]+', name):
            raise ValueError(
                f'There is no language model {name} for '
                f'{"images" if is_vl else "text alone"}; allowed: '
                f'{", ".join(able)}, a folder, or organisation/name on the '
                f'Hugging Face hub.')
        return name

    def complete(
        self, prompt: str, system_prompt: str, seed: int,
        images: Sequence[Image.Image] = (),
    ) -> str:
        inputs = self.processor.ask(prompt, system_prompt, images) \
            if self.is_vl else self.tokenizer.apply_chat_template(
                messages(prompt, system_prompt), add_generation_prompt=True,
                return_tensors='pt', return_dict=True)
        inputs = inputs.to(self.model.device)
        # generate() draws from the global generators only: they are lent.
        devices = range(torch.cuda.device_count())
        with torch.random.fork_rng(devices), torch.no_grad():
            torch.manual_seed(seed)
            tokens = self.model.generate(
                **inputs, do_sample=True, max_new_tokens=MAX_NEW_TOKENS)
        answer = tokens[0, inputs['input_ids'].size(1):]
        return self.tokenizer.decode(answer, skip_special_tokens=True)


def _check_folder(folder: str, is_vl: bool) -> None:
    try:
        config = json.loads(Path(folder, 'config.json').read_text('utf-8'))
        sees = config['model_type'] == VISION_TYPE
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f'The folder {folder} holds no language model: there is no '
            f'config.json that names its model_type.') from error
    if sees != is_vl:
        raise ValueError(
            f'The language model in {folder} is of type '
            f'{config["model_type"]}: ' + (
                f'for images one of type {VISION_TYPE} is needed.' if is_vl
                else 'for text alone one without images is needed.'))
