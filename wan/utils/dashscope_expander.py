r"""Prompt extension by Alibaba Cloud's DashScope."""
import base64
import io
import logging
import math
import os
import time
from collections.abc import Sequence
from http import HTTPStatus

from PIL import Image

from .prompt_expander import PromptExpander, messages

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0  # between two requests
SEEDS = 2**31  # it takes 0 ... 2**31 - 1


class DashScopePromptExpander(PromptExpander):
    r"""Models of Alibaba Cloud, over the network.

    The environment's DASH_API_URL, if set, is asked in place of the
    service's default address.

    Args:
        api_key: None takes the environment's DASH_API_KEY.
        model_name: one the service has; None is 'qwen-plus', or 'qwen-vl-max'
            for images.
        max_image_size: pixels that an image is scaled down to.
        retry_times: requests at most.
        is_vl: whether it is one that sees images.

    Raises:
        ValueError: no `dashscope` package, no key, retry_times or
            max_image_size below 1.
    """

    def __init__(
        self, api_key: str | None = None, model_name: str | None = None,
        max_image_size: int = 512 * 512, retry_times: int = 4,
        is_vl: bool = False, **kwargs,
    ):
        super().__init__(
            model_name or ('qwen-vl-max' if is_vl else 'qwen-plus'), is_vl,
            **kwargs)
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
        for name, value in (('retry_times', retry_times),
                            ('max_image_size', max_image_size)):
            if value < 1:
                raise ValueError(f'{name} is {value}: at least 1 is needed.')
        self.model = self.model_name
        self.max_image_size = max_image_size
        self.retry_times = retry_times
        self._service = dashscope.MultiModalConversation if is_vl \
            else dashscope.Generation

    def complete(
        self, prompt: str, system_prompt: str, seed: int,
        images: Sequence[Image.Image] = (),
    ) -> str:
        content = [{'image': _data_url(image, self.max_image_size)}
                   for image in images]
        asked = messages(prompt, system_prompt) if not self.is_vl else \
            messages([*content, {'text': prompt}], [{'text': system_prompt}])
        for left in reversed(range(self.retry_times)):
            try:
                return self._request(asked, seed)
            except Exception as error:
                if not left:
                    raise
                log.info('DashScope failed, %d more to try: %s', left, error)
                time.sleep(RETRY_SECONDS)

    def _request(self, asked: list[dict], seed: int) -> str:
        response = self._service.call(
            self.model, messages=asked, seed=seed % SEEDS,
            result_format='message', api_key=self.api_key,
            base_address=os.environ.get('DASH_API_URL'))
        if response.status_code != HTTPStatus.OK:
            raise RuntimeError(
                f'DashScope answered {int(response.status_code)} '
                f'{response.code}: {response.message}')
        content = response['output']['choices'][0]['message']['content']
        if isinstance(content, str):
            return content
        return ''.join(part['text'] for part in content)


def _data_url(image: Image.Image, max_pixels: int) -> str:
    r"""The image itself in place of an address, of `max_pixels` at most."""
    scale = math.sqrt(max_pixels / (image.width * image.height))
    if scale < 1:
        image = image.resize(
            [max(1, int(side * scale)) for side in image.size],
            Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, 'PNG')
    data = base64.b64encode(file.getvalue()).decode()
    return f'data:image/png;base64,{data}'
