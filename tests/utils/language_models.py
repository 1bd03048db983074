r"""Stand-ins for language models: a small random Qwen2, a DashScope module."""
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from tools.random_checkpoint import word_tokenizer

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} "
    '{% endfor %}{% if add_generation_prompt %}assistant : {% endif %}')


def write_language_model(folder: Path) -> Path:
    r"""A random two-layer Qwen2 and a tokenizer of a few words."""
    tokenizer = word_tokenizer()
    tokenizer.chat_template = TEMPLATE
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(Qwen2Config(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64,
            num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=2048,
            bos_token_id=None, pad_token_id=0, eos_token_id=1))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class DashScope(ModuleType):
    r"""In the place of the package; gives `answers` one by one."""

    def __init__(self):
        super().__init__('dashscope')
        self.calls, self.answers = [], []
        self.Generation = SimpleNamespace(call=self._call)

    def _call(self, model, **kwargs):
        self.calls.append({'model': model, **kwargs})
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Response(dict):
    r"""Items are attributes too, as in the package's own."""
    __getattr__ = dict.__getitem__


def good(text: str) -> Response:
    choice = {'message': {'role': 'assistant', 'content': text}}
    return Response(status_code=200, output={'choices': [choice]})


def bad(status: int, code: str, message: str) -> Response:
    return Response(status_code=status, code=code, message=message)
