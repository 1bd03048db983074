r"""What all language models that extend prompts share.

What goes wrong while one answers is told in what it returns: the caller
decides what becomes of the prompt.
"""
import logging
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from PIL import Image

from .image import read_image
from .prompt_texts import LANGUAGES, SYSTEM_PROMPT_TYPES

log = logging.getLogger(__name__)

Picture: TypeAlias = str | Path | Image.Image


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
        is_vl: whether it is one that sees images.
        device: where the model runs: a CUDA index or a torch device.
    """

    def __init__(
        self, model_name: str, is_vl: bool = False,
        device: torch.device | str | int = 0, **kwargs,
    ):
        self.model_name = model_name
        self.is_vl = is_vl
        self.device = device

    def complete(
        self, prompt: str, system_prompt: str, seed: int,
        images: Sequence[Image.Image] = (),
    ) -> str:
        r"""The language model's answer; may raise anything.

        Args:
            images: in mode RGB; only those that see images are given any.
        """
        raise NotImplementedError

    def extend(
        self, prompt: str, system_prompt: str, seed: int = -1, *args, **kwargs
    ) -> PromptOutput:
        r"""Extend a prompt by the given instructions; a negative seed draws.

        A failure is no exception but `status` False and a warning.
        """
        return self._extended(prompt, system_prompt, seed, ())

    def extend_with_img(
        self, prompt: str, system_prompt: str,
        image: Picture | Sequence[Picture] | None = None, seed: int = -1,
        *args, **kwargs,
    ) -> PromptOutput:
        r"""Extend a prompt by what is seen in one image, or in several.

        Raises:
            ValueError: no image, an unreadable one, or not `is_vl`.
        """
        images = _pictures(image)
        if not images:
            raise ValueError('image is missing: extend() needs none.')
        if not self.is_vl:
            raise ValueError(
                f'image is given, but is_vl is False: {self.model_name} is '
                f'asked as a model that sees no images.')
        return self._extended(prompt, system_prompt, seed, images)

    def _extended(self, prompt, system_prompt, seed, images) -> PromptOutput:
        if seed < 0:
            seed = random.randint(0, sys.maxsize)
        try:
            text = self.complete(prompt, system_prompt, seed, images).strip()
            if not text:
                raise RuntimeError('the language model answered nothing')
        except Exception as error:
            message = f'{type(error).__name__}: {error}'
            log.warning('Prompt extension failed: %s', message)
            return PromptOutput(False, prompt, seed, system_prompt, message)
        return PromptOutput(True, text, seed, system_prompt, '')

    def decide_system_prompt(
        self, tar_lang: str = 'zh', multi_images_input: bool = False
    ) -> str:
        r"""The instructions that ask for `tar_lang`, 'zh' or 'en'.

        Raises:
            ValueError: another language, or several images without `is_vl`.
        """
        if multi_images_input and not self.is_vl:
            raise ValueError(
                'multi_images_input is True, but is_vl is False: only a '
                'model that sees images has instructions for them.')
        return _instructions(tar_lang, self.is_vl, multi_images_input)

    def __call__(
        self, prompt: str, system_prompt: str | None = None,
        tar_lang: str = 'zh',
        image: Picture | Sequence[Picture] | None = None, seed: int = -1,
        *args, **kwargs,
    ) -> PromptOutput:
        r"""Extend a prompt to `tar_lang`, or by instructions of one's own.

        Args:
            image: what the video is made from, in order; without any, a
                model that sees images is asked as the others are.

        Raises:
            ValueError: an image without `is_vl` or an unreadable one, or a
                language other than 'zh' and 'en'.
        """
        images = _pictures(image)
        if system_prompt is None:
            system_prompt = self.decide_system_prompt(
                tar_lang, len(images) > 1) if images else _instructions(
                tar_lang, False, False)
        if images:
            return self.extend_with_img(
                prompt, system_prompt, images, seed, *args, **kwargs)
        return self.extend(prompt, system_prompt, seed, *args, **kwargs)


def _instructions(tar_lang: str, is_vl: bool, several: bool) -> str:
    if tar_lang not in LANGUAGES:
        raise ValueError(
            f'tar_lang is {tar_lang!r}, allowed: {", ".join(LANGUAGES)}.')
    return SYSTEM_PROMPT_TYPES[
        LANGUAGES.index(tar_lang) + 2 * is_vl + 4 * several]


def _pictures(
    image: Picture | Sequence[Picture] | None
) -> list[Image.Image]:
    r"""Images in mode RGB, what is transparent on white."""
    if image is None:
        return []
    found = []
    for one in image if isinstance(image, (list, tuple)) else [image]:
        picture = one if isinstance(one, Image.Image) else read_image(one)
        picture = picture.convert('RGBA')
        ground = Image.new('RGBA', picture.size, 'white')
        found.append(Image.alpha_composite(ground, picture).convert('RGB'))
    return found


def messages(prompt: object, system_prompt: object) -> list[dict]:
    r"""The instructions and what the user says, as chat models take them."""
    return [{'role': 'system', 'content': system_prompt},
            {'role': 'user', 'content': prompt}]
