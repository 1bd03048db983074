r"""The prompts of an edit, written from what its photos show.

A prompt that describes another product than the photo's gives that other
product. So a model that sees the photos says what is in them, and then writes
both prompts: the same scene, with the old product and with that one.
"""
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from PIL import Image

from ..product.photo import Product
from ..refdrop.config import RefConfig
from ..utils.prompt_texts import (
    CAPTION_PROMPTS,
    CAPTION_QUESTIONS,
    PAIR_PROMPTS,
)
from .checkpoint import Checkpoint
from .edit_settings import EditInputs
from .extension import Ask, Extension, ExtensionFailed, ExtensionSettings
from .task import Job

NAMES = ('source_prompt', 'target_prompt')
FORM = re.compile(r'SOURCE: *(\S[^\n]*)\n\s*TARGET: *(\S[^\n]*)')
BANK_OF_ONE_PROMPT = (
    'ref_bank belongs to one target_prompt, which use_prompt_extend writes '
    'anew: give the prompts that a dry run with it prints, without it.')


def shown_photos(
    products: Sequence[Product], ref: RefConfig
) -> tuple[Image.Image, ...]:
    r"""The photos that prompts are written from: not those pushed away from.
    """
    return tuple(product.photo for product, c in zip(
        products, ref.ref_c, strict=bool(products)) if c >= 0)


def check_words(inputs: EditInputs, checkpoint: Checkpoint) -> None:
    r"""Check that the words to find the product by are in their prompts."""
    for side in ('source', 'target'):
        words = getattr(inputs, f'{side}_blend')
        if not words:
            continue
        try:
            checkpoint.tokenizer.token_positions(
                getattr(inputs, f'{side}_prompt'), words)
        except ValueError as error:
            raise ValueError(f'{side}_blend: {error}') from error


def write_pair(job: Job, ask: Ask) -> Mapping[str, str]:
    r"""Both prompts and, where there are photos, `photo_caption`.

    Raises:
        ExtensionFailed: no answer, one that is not two prompts, or prompts
            without the words to find the product by.
    """
    inputs, photos = job.settings[EditInputs], job.work.images
    language = job.settings[ExtensionSettings].prompt_extend_target_lang
    texts, lines = {}, {
        'SOURCE': inputs.source_prompt, 'TARGET': inputs.target_prompt}
    if photos:
        lines['PHOTO'] = texts['photo_caption'] = ask(
            CAPTION_QUESTIONS[language], CAPTION_PROMPTS[language], photos)
    lines |= {'KEEP IN SOURCE': inputs.source_blend,
              'KEEP IN TARGET': inputs.target_blend}
    answer = ask(
        '\n'.join(f'{name}: {" ".join(text.split())}'
                  for name, text in lines.items() if text),
        PAIR_PROMPTS[language])
    pair = dict(zip(NAMES, _read(answer), strict=True))
    try:
        check_words(replace(inputs, **pair), job.checkpoint)
    except ValueError as error:
        raise ExtensionFailed(
            f'The prompts of the language model lack words: {error}'
        ) from error
    return texts | pair


def _read(answer: str) -> tuple[str, str]:
    r"""The two prompts of an answer in the form that was asked for."""
    found = FORM.fullmatch(answer.strip())
    if found is None:
        raise ExtensionFailed(
            f'The language model did not answer with the two lines SOURCE '
            f'and TARGET, but: {answer[:200]!r}.')
    source, target = (text.strip() for text in found.groups())
    if source == target:
        raise ExtensionFailed(
            f'The language model wrote the same prompt for both products: '
            f'{source!r}.')
    return source, target


extended_edit = Extension(NAMES, write_pair)
