r"""Prompt extension by a small random model and a stand-in for DashScope."""
import json
import logging
import random
import sys

import pytest
import torch
from transformers import Qwen2ForCausalLM

from tests.utils.language_models import (
    DashScope,
    bad,
    good,
    write_language_model,
)
from tools.random_checkpoint import word_tokenizer
from wan.utils import prompt_extend
from wan.utils.checkpoint import CheckpointError
from wan.utils.prompt_extend import (
    LM_EN_SYS_PROMPT,
    LM_ZH_SYS_PROMPT,
    DashScopePromptExpander,
    PromptExpander,
    PromptOutput,
    QwenPromptExpander,
)

PROMPT = 'a red watch on a wooden table'


class Fixed(PromptExpander):
    r"""Answers what it was made with."""

    def __init__(self, answer):
        super().__init__('fixed')
        self.answer = answer
        self.asked = []

    def complete(self, prompt, system_prompt, seed):
        self.asked.append((prompt, system_prompt, seed))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture(scope='module')
def language_model(tmp_path_factory):
    return write_language_model(tmp_path_factory.mktemp('qwen'))


@pytest.fixture(scope='module')
def qwen(language_model):
    return QwenPromptExpander(str(language_model), device='cpu')


@pytest.fixture
def dashscope(monkeypatch):
    module = DashScope()
    monkeypatch.setitem(sys.modules, 'dashscope', module)
    monkeypatch.setenv('DASH_API_KEY', 'a-key')
    monkeypatch.delenv('DASH_API_URL', raising=False)
    monkeypatch.setattr(prompt_extend, 'RETRY_SECONDS', 0.)
    return module


def test_system_prompt_by_language():
    expander = Fixed('text')
    assert expander.decide_system_prompt('zh') is LM_ZH_SYS_PROMPT
    assert expander.decide_system_prompt('en') is LM_EN_SYS_PROMPT
    assert expander.decide_system_prompt() is LM_ZH_SYS_PROMPT
    assert expander.is_vl is False
    with pytest.raises(ValueError, match="'fr', allowed: en, zh"):
        expander.decide_system_prompt('fr')


def test_system_prompts_ask_for_their_own_language():
    assert LM_EN_SYS_PROMPT.isascii()
    assert 'write English' in LM_EN_SYS_PROMPT
    assert '都用中文输出' in LM_ZH_SYS_PROMPT
    assert all('80' in p and '100' in p
               for p in (LM_EN_SYS_PROMPT, LM_ZH_SYS_PROMPT))


def test_call():
    expander = Fixed('  a long prompt\n')
    out = expander(PROMPT, tar_lang='en', seed=3)
    assert out == PromptOutput(
        True, 'a long prompt', 3, LM_EN_SYS_PROMPT, '')
    assert expander(PROMPT, 'my own rules', seed=4).system_prompt == \
        'my own rules'
    assert expander.asked == [
        (PROMPT, LM_EN_SYS_PROMPT, 3), (PROMPT, 'my own rules', 4)]


def test_a_negative_seed_is_drawn():
    random.seed(0)
    seeds = [Fixed('text')(PROMPT).seed for _ in range(2)]
    random.seed(0)
    assert [random.randint(0, sys.maxsize) for _ in range(2)] == seeds


@pytest.mark.parametrize('answer, why', [
    (RuntimeError('out of words'), 'RuntimeError: out of words'),
    (' \n', 'RuntimeError: the language model answered nothing'),
])
def test_failure_keeps_the_prompt_and_says_why(answer, why, caplog):
    out = Fixed(answer)(PROMPT, seed=1)
    assert out == PromptOutput(False, PROMPT, 1, LM_ZH_SYS_PROMPT, why)
    [record] = caplog.records
    assert record.levelno == logging.WARNING and why in record.message


def test_images_are_refused(dashscope):
    with pytest.raises(ValueError, match='image-to-video'):
        DashScopePromptExpander(is_vl=True)
    with pytest.raises(ValueError, match='image-to-video'):
        QwenPromptExpander('QwenVL2.5_7B', is_vl=True)
    with pytest.raises(ValueError, match='only text prompts'):
        Fixed('text')(PROMPT, image='photo.png')
    with pytest.raises(ValueError, match='only text prompts'):
        Fixed('text').decide_system_prompt('en', multi_images_input=True)


def test_custom_field():
    out = Fixed('text')(PROMPT)
    out.add_custom_field('note', [1])
    assert out.note == [1]


def test_qwen_by_seed(qwen):
    texts = [qwen(PROMPT, tar_lang='en', seed=s) for s in (7, 7, 8)]
    assert all(t.status for t in texts), texts
    assert texts[0] == texts[1]
    assert texts[0].prompt != texts[2].prompt
    assert PROMPT not in texts[0].prompt and '</s>' not in texts[0].prompt


def test_qwen_leaves_the_global_generators_alone(qwen):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    state = random.getstate()
    assert qwen(PROMPT, seed=5).status
    assert torch.equal(torch.rand(3), expected)
    assert random.getstate() == state


def test_qwen_is_asked_with_the_system_prompt(qwen, monkeypatch):
    seen = []
    monkeypatch.setattr(
        qwen.tokenizer, 'apply_chat_template',
        lambda messages, **_: seen.extend(messages))
    assert not qwen(PROMPT, tar_lang='en', seed=5).status  # nothing to run
    assert seen == [{'role': 'system', 'content': LM_EN_SYS_PROMPT},
                    {'role': 'user', 'content': PROMPT}]


def test_qwen_without_chat_template_falls_back(qwen, monkeypatch, caplog):
    monkeypatch.setattr(qwen.tokenizer, 'chat_template', None)
    out = qwen(PROMPT, seed=5)
    assert not out.status and out.prompt == PROMPT
    assert 'chat_template' in out.message and 'chat_template' in caplog.text


def test_qwen_names(tmp_path, language_model):
    locate = QwenPromptExpander.locate
    assert locate() == 'Qwen/Qwen2.5-14B-Instruct'
    assert locate('Qwen2.5_3B') == 'Qwen/Qwen2.5-3B-Instruct'
    assert locate('some/model-1.5') == 'some/model-1.5'
    assert locate(str(language_model)) == str(language_model)
    with pytest.raises(ValueError, match='no config.json'):
        locate(str(tmp_path))
    for name in (str(tmp_path / 'none'), '../none', 'QwenVL2.5_3B'):
        with pytest.raises(ValueError, match='allowed: Qwen2.5_3B'):
            locate(name)


def test_qwen_keeps_the_stored_dtype(language_model, tmp_path):
    folder = tmp_path / 'bf16'
    model = Qwen2ForCausalLM.from_pretrained(language_model)
    model.to(torch.bfloat16).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    assert QwenPromptExpander(
        str(folder), device='cpu').model.dtype == torch.bfloat16


def test_qwen_reads_no_pickles(language_model, tmp_path):
    model = Qwen2ForCausalLM.from_pretrained(language_model)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / 'pytorch_model.bin')
    word_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match='Cannot load the language'):
        QwenPromptExpander(str(tmp_path), device='cpu')


def test_qwen_runs_no_code_from_the_folder(language_model, tmp_path):
    config = json.loads((language_model / 'config.json').read_text())
    config |= {'model_type': 'other', 'auto_map': {
        'AutoConfig': 'code.C', 'AutoModelForCausalLM': 'code.M'}}
    (tmp_path / 'config.json').write_text(json.dumps(config))
    (tmp_path / 'code.py').write_text('raise SystemExit("was run")')
    word_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError):
        QwenPromptExpander(str(tmp_path), device='cpu')


def test_dashscope_request(dashscope, monkeypatch):
    monkeypatch.setenv('DASH_API_URL', 'https://elsewhere.example/api')
    dashscope.answers = [good('a long prompt')]
    out = DashScopePromptExpander()(PROMPT, tar_lang='en', seed=2**31 + 5)
    assert out == PromptOutput(
        True, 'a long prompt', 2**31 + 5, LM_EN_SYS_PROMPT, '')
    [call] = dashscope.calls
    assert call == {
        'model': 'qwen-plus', 'seed': 5, 'result_format': 'message',
        'api_key': 'a-key', 'base_address': 'https://elsewhere.example/api',
        'messages': [{'role': 'system', 'content': LM_EN_SYS_PROMPT},
                     {'role': 'user', 'content': PROMPT}]}


def test_dashscope_tries_again(dashscope):
    dashscope.answers = [
        bad(429, 'Throttling', 'too fast'), OSError('no network'),
        good('a long prompt')]
    assert DashScopePromptExpander(retry_times=3)(PROMPT).status
    assert len(dashscope.calls) == 3


@pytest.mark.parametrize('times', [1, 3])
def test_dashscope_gives_up(dashscope, caplog, times):
    dashscope.answers = [bad(429, 'Throttling', 'too fast')] * 5
    out = DashScopePromptExpander(retry_times=times)(PROMPT)
    assert len(dashscope.calls) == times
    assert not out.status and out.prompt == PROMPT
    assert out.message == \
        'RuntimeError: DashScope answered 429 Throttling: too fast'
    assert out.message in caplog.text and 'a-key' not in caplog.text


def test_dashscope_needs(dashscope, monkeypatch):
    with pytest.raises(ValueError, match='retry_times is 0'):
        DashScopePromptExpander(retry_times=0)
    monkeypatch.delenv('DASH_API_KEY')
    assert DashScopePromptExpander('my-key', 'qwen-max').api_key == 'my-key'
    with pytest.raises(ValueError, match='DASH_API_KEY'):
        DashScopePromptExpander()
    monkeypatch.setitem(sys.modules, 'dashscope', None)  # as if missing
    with pytest.raises(ValueError, match='pip install dashscope'):
        DashScopePromptExpander('my-key')
