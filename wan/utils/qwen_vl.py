r"""Qwen2.5-VL, a chat model that sees pictures; imported when it is asked for.

The processor of transformers takes videos too and then needs torchvision,
which still pictures do not.
"""
from collections.abc import Sequence

from PIL import Image
from transformers import (
    BatchFeature,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
)

from .qwen_vl_utils import IMAGE_FACTOR, smart_resize

# In these bounds it is good and quick; in pixels.
LEAST, MOST = 256 * IMAGE_FACTOR**2, 1280 * IMAGE_FACTOR**2

VisionModel = Qwen2_5_VLForConditionalGeneration


class StillProcessor(Qwen2_5_VLProcessor):
    r"""Texts and still pictures."""
    attributes = ('image_processor', 'tokenizer')  # of older transformers

    def __init__(
        self, image_processor=None, tokenizer=None, chat_template=None,
        **kwargs,
    ):
        super().__init__(
            image_processor=image_processor, tokenizer=tokenizer,
            chat_template=chat_template)

    def ask(
        self, prompt: str, system_prompt: str, images: Sequence[Image.Image]
    ) -> BatchFeature:
        r"""A question as the model's inputs, the pictures before the text."""
        text = self.apply_chat_template([
            {'role': 'system', 'content': [_text(system_prompt)]},
            {'role': 'user', 'content': [
                *({'type': 'image'} for _ in images), _text(prompt)]},
        ], add_generation_prompt=True, tokenize=False)
        return self(
            text=[text], images=[_fitted(image) for image in images] or None,
            return_tensors='pt')


def _text(text: str) -> dict[str, str]:
    return {'type': 'text', 'text': text}


def _fitted(image: Image.Image) -> Image.Image:
    height, width = smart_resize(
        image.height, image.width, min_pixels=LEAST, max_pixels=MOST)
    return image.resize((width, height), Image.Resampling.BICUBIC)
