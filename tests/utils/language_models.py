r"""Stand-ins for language models: small random Qwens, and DashScope.

Nobody has to install the package of DashScope for it: a module of its name
sends what the package sends, to a server on this machine.
"""
import base64
import io
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
from PIL import Image
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from tools.random_checkpoint import word_tokenizer

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} "
    '{% endfor %}{% if add_generation_prompt %}assistant : {% endif %}')
VISION_TOKENS = ('<|vision_start|>', '<|vision_end|>', '<|image_pad|>',
                 '<|video_pad|>')
VISION_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} : {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}"
    '{% if add_generation_prompt %}assistant : {% endif %}')
SIZES = {'hidden_size': 32, 'intermediate_size': 64, 'num_hidden_layers': 2,
         'num_attention_heads': 4, 'num_key_value_heads': 2,
         'max_position_embeddings': 2048, 'bos_token_id': None,
         'pad_token_id': 0, 'eos_token_id': 1}
# What it sees must make a difference to what it says.
WIDE = {'initializer_range': .3}


def write_language_model(folder: Path) -> Path:
    r"""A random two-layer Qwen2 and a tokenizer of a few words."""
    tokenizer = word_tokenizer()
    tokenizer.chat_template = TEMPLATE
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(Qwen2Config(
            vocab_size=len(tokenizer), **SIZES))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_vision_model(folder: Path) -> Path:
    r"""A random Qwen2.5-VL, the files laid out as the official ones are."""
    tokenizer = word_tokenizer()
    tokenizer.add_special_tokens(
        {'additional_special_tokens': list(VISION_TOKENS)})
    start, end, image, video = tokenizer.convert_tokens_to_ids(
        list(VISION_TOKENS))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(
            vocab_size=len(tokenizer), **SIZES, **WIDE,
            rope_scaling={'type': 'mrope', 'mrope_section': [2, 1, 1]},
            vision_config={
                'depth': 2, 'hidden_size': 32, 'intermediate_size': 64,
                'num_heads': 4, 'out_hidden_size': 32,
                'fullatt_block_indexes': [1], **WIDE},
            vision_start_token_id=start, vision_end_token_id=end,
            image_token_id=image, video_token_id=video))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / 'preprocessor_config.json').write_text(json.dumps({
        'image_processor_type': 'Qwen2VLImageProcessor',
        'processor_class': 'Qwen2_5_VLProcessor', 'patch_size': 14,
        'temporal_patch_size': 2, 'merge_size': 2,
        'min_pixels': 3136, 'max_pixels': 12845056}))
    (folder / 'chat_template.json').write_text(
        json.dumps({'chat_template': VISION_TEMPLATE}))
    return folder


class DashScope(ModuleType):
    r"""In the place of the package; `address` is the service's.

    Attributes:
        calls: (path, key, body) of each request that reached the service.
        answers: what it says one by one: a text, (status, code, message), or
            an exception of the network.
    """

    def __init__(self):
        super().__init__('dashscope')
        self.calls, self.answers = [], []
        self.address = ''
        self.Generation = SimpleNamespace(call=self._caller(
            'aigc/text-generation/generation'))
        self.MultiModalConversation = SimpleNamespace(call=self._caller(
            'aigc/multimodal-generation/generation'))

    def _caller(self, service):

        def call(model, messages, api_key, base_address, **parameters):
            if self.answers and isinstance(self.answers[0], Exception):
                raise self.answers.pop(0)
            request = Request(
                f'{base_address or self.address}/services/{service}',
                json.dumps({'model': model, 'input': {'messages': messages},
                            'parameters': parameters}).encode(),
                {'Authorization': f'Bearer {api_key}'})
            try:
                with urlopen(request, timeout=10) as reply:
                    status, body = reply.status, json.load(reply)
            except HTTPError as error:
                status, body = error.code, json.load(error)
            return _Response(status_code=status, **body)

        return call

    def answer(self, path: str, key: str, body: dict) -> tuple[int, dict]:
        r"""The service's (status, body) to a request."""
        self.calls.append((path, key, body))
        answer = self.answers.pop(0)
        if isinstance(answer, tuple):
            status, code, message = answer
            return status, {'code': code, 'message': message}
        content = [{'text': answer}] if 'multimodal' in path else answer
        return 200, {'output': {'choices': [{'message': {
            'role': 'assistant', 'content': content}}]}}


class _Response(dict):
    r"""Items are attributes too, as in the package's own."""
    __getattr__ = dict.__getitem__


@contextmanager
def dashscope_service():
    r"""A `DashScope` whose service runs on this machine."""
    module = DashScope()

    class Handler(BaseHTTPRequestHandler):

        def do_POST(self):
            body = self.rfile.read(int(self.headers['Content-Length']))
            status, content = module.answer(
                self.path, self.headers['Authorization'], json.loads(body))
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header('Content-Type', 'application/json')
            self.send_header('Content-Length', str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            r"""Nothing: standard error is the program's."""

    with HTTPServer(('127.0.0.1', 0), Handler) as server:
        module.address = f'http://127.0.0.1:{server.server_port}/api/v1'
        thread = threading.Thread(target=server.serve_forever, args=(.01,))
        thread.start()
        try:
            yield module
        finally:
            server.shutdown()
            thread.join()


def sent_image(part: dict) -> Image.Image:
    r"""The picture in a part of a message."""
    head, _, data = part['image'].partition(',')
    assert head == 'data:image/png;base64'
    return Image.open(io.BytesIO(base64.b64decode(data)))
