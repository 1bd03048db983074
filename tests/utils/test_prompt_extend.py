r"""Prompt extension by small random models and a stand-in for DashScope."""
import json
import logging
import math
import random
import sys

import pytest
import torch
from PIL import Image
from transformers import Qwen2ForCausalLM

from tests.utils.language_models import (
    dashscope_service,
    sent_image,
    write_language_model,
    write_vision_model,
)
from tools.random_checkpoint import word_tokenizer
from wan.utils import dashscope_expander, qwen_expander
from wan.utils.checkpoint import CheckpointError
from wan.utils.prompt_extend import (
    LM_EN_SYS_PROMPT,
    LM_ZH_SYS_PROMPT,
    SYSTEM_PROMPT_TYPES,
    VL_EN_SYS_PROMPT,
    VL_EN_SYS_PROMPT_FOR_MULTI_IMAGES,
    VL_ZH_SYS_PROMPT,
    VL_ZH_SYS_PROMPT_FOR_MULTI_IMAGES,
    DashScopePromptExpander,
    PromptExpander,
    PromptOutput,
    QwenPromptExpander,
)

PROMPT = 'a red watch on a wooden table'
RED, BLUE = (Image.new('RGB', (300, 200), name) for name in ('red', 'blue'))


class Fixed(PromptExpander):
    r"""Answers what it was made with."""

    def __init__(self, answer, is_vl=False):
        super().__init__('fixed', is_vl)
        self.answer = answer
        self.asked = []

    def complete(self, prompt, system_prompt, seed, images=()):
        self.asked.append((prompt, system_prompt, seed, *images))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture(scope='module')
def language_model(tmp_path_factory):
    return write_language_model(tmp_path_factory.mktemp('qwen'))


@pytest.fixture(scope='module')
def vision_model(tmp_path_factory):
    return write_vision_model(tmp_path_factory.mktemp('qwen_vl'))


@pytest.fixture(scope='module')
def qwen(language_model):
    return QwenPromptExpander(str(language_model), device='cpu')


@pytest.fixture(scope='module')
def qwen_vl(vision_model):
    return QwenPromptExpander(str(vision_model), device='cpu', is_vl=True)


@pytest.fixture
def dashscope(monkeypatch):
    with dashscope_service() as module:
        monkeypatch.setitem(sys.modules, 'dashscope', module)
        monkeypatch.setenv('DASH_API_KEY', 'a-key')
        monkeypatch.delenv('DASH_API_URL', raising=False)
        monkeypatch.setattr(dashscope_expander, 'RETRY_SECONDS', 0.)
        yield module


@pytest.mark.parametrize('is_vl, several, english, chinese', (
    (False, False, LM_EN_SYS_PROMPT, LM_ZH_SYS_PROMPT),
    (True, False, VL_EN_SYS_PROMPT, VL_ZH_SYS_PROMPT),
    (True, True, VL_EN_SYS_PROMPT_FOR_MULTI_IMAGES,
     VL_ZH_SYS_PROMPT_FOR_MULTI_IMAGES)))
def test_system_prompt_by_language_and_images(
        is_vl, several, english, chinese):
    expander = Fixed('text', is_vl)
    assert expander.decide_system_prompt('zh', several) is chinese
    assert expander.decide_system_prompt('en', several) is english
    assert expander.decide_system_prompt(
        multi_images_input=several) is chinese
    assert expander.is_vl is is_vl
    with pytest.raises(ValueError, match="'fr', allowed: en, zh"):
        expander.decide_system_prompt('fr', several)


def test_system_prompts_ask_for_their_own_language():
    assert sorted(SYSTEM_PROMPT_TYPES) == [0, 1, 2, 3, 6, 7]
    for key, text in SYSTEM_PROMPT_TYPES.items():
        assert text.isascii() == (key % 2 == 0)
        assert ('都用中文输出' if key % 2 else 'write English') in text
        assert ('图片' if key % 2 else 'picture') in text or key < 2
        assert '80' in text and '100' in text


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
def test_failure_says_why_and_returns_the_prompt(answer, why, caplog):
    out = Fixed(answer)(PROMPT, seed=1)
    assert out == PromptOutput(False, PROMPT, 1, LM_ZH_SYS_PROMPT, why)
    [record] = caplog.records
    assert record.levelno == logging.WARNING and why in record.message


def test_images_need_a_model_that_sees():
    blind = Fixed('text')
    with pytest.raises(ValueError, match='image is given, but is_vl is False'):
        blind(PROMPT, image=RED)
    with pytest.raises(ValueError, match='but is_vl is False'):
        blind(PROMPT, 'my own rules', image=[RED, BLUE])
    with pytest.raises(ValueError, match='but is_vl is False'):
        blind.decide_system_prompt('en', multi_images_input=True)
    with pytest.raises(ValueError, match='image is missing'):
        Fixed('text', True).extend_with_img(PROMPT, 'my own rules')
    assert blind.asked == [] and blind.is_vl is False


def test_images_of_every_kind(tmp_path):
    clear = Image.new('RGBA', (30, 20), (0, 0, 0, 0))
    clear.save(tmp_path / 'clear.png')
    expander = Fixed('text', True)
    for image, rules in (
            (RED, VL_EN_SYS_PROMPT), ([RED], VL_EN_SYS_PROMPT),
            (str(tmp_path / 'clear.png'), VL_EN_SYS_PROMPT),
            ((RED, tmp_path / 'clear.png'), VL_EN_SYS_PROMPT_FOR_MULTI_IMAGES),
            (None, LM_EN_SYS_PROMPT)):
        assert expander(
            PROMPT, tar_lang='en', image=image, seed=2).system_prompt == rules
    *_, path, both, none = [images for *_, images in (
        (*call[:3], call[3:]) for call in expander.asked)]
    assert path[0].mode == 'RGB'
    assert path[0].getpixel((0, 0)) == (255, 255, 255)
    assert [image.getpixel((0, 0)) for image in both] == [
        (255, 0, 0), (255, 255, 255)]
    assert none == ()
    with pytest.raises(ValueError, match='none.png is not an existing file'):
        expander(PROMPT, image='none.png')


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


def test_qwen_without_chat_template_fails(qwen, monkeypatch, caplog):
    monkeypatch.setattr(qwen.tokenizer, 'chat_template', None)
    out = qwen(PROMPT, seed=5)
    assert not out.status and out.prompt == PROMPT
    assert 'chat_template' in out.message and 'chat_template' in caplog.text


def test_a_vision_model_sees_the_images(qwen_vl, monkeypatch):
    monkeypatch.setattr(qwen_expander, 'MAX_NEW_TOKENS', 24)

    def text(image, seed=7):
        out = qwen_vl(PROMPT, tar_lang='en', image=image, seed=seed)
        assert out.status, out.message
        return out.prompt

    assert text(RED) == text([RED]) == text(RED.copy())
    assert len({text(RED), text(BLUE), text([RED, BLUE]), text([BLUE, RED]),
                text(None), text(RED, seed=8)}) == 6
    assert '<|' not in text(RED)


@pytest.mark.parametrize('size', ((30, 20), (300, 200), (3000, 1000)))
def test_a_vision_model_gets_images_of_a_sensible_size(qwen_vl, size):
    images = [Image.new('RGB', size)] * 2
    inputs = qwen_vl.processor.ask('a red watch', 'the gold bag', images)
    pad = qwen_vl.processor.image_token_id
    text = qwen_vl.tokenizer.decode(inputs['input_ids'][0])
    assert text.index('gold bag') < text.index('<|image_pad|>') < text.index(
        'red watch')
    grid = inputs['image_grid_thw']
    assert grid.shape == (2, 3)
    assert (inputs['input_ids'] == pad).sum() == grid.prod(1).sum() // 4
    patches = int(grid[0].prod())
    assert 4 * 256 <= patches <= 4 * 1280
    width, height = size
    assert grid[0, 2] / grid[0, 1] == pytest.approx(width / height, rel=.1)


def test_qwen_names(tmp_path, language_model, vision_model):
    locate = QwenPromptExpander.locate
    assert locate() == 'Qwen/Qwen2.5-14B-Instruct'
    assert locate(is_vl=True) == 'Qwen/Qwen2.5-VL-7B-Instruct'
    assert locate('Qwen2.5_3B') == 'Qwen/Qwen2.5-3B-Instruct'
    assert locate('QwenVL2.5_3B', True) == 'Qwen/Qwen2.5-VL-3B-Instruct'
    assert len(QwenPromptExpander.model_dict) == 5
    for sees, folder in enumerate((language_model, vision_model)):
        assert locate('some/model-1.5', sees) == 'some/model-1.5'
        assert locate(str(folder), bool(sees)) == str(folder)
        with pytest.raises(ValueError, match='no config.json'):
            locate(str(tmp_path), bool(sees))
    for name in (str(tmp_path / 'none'), '../none', 'QwenVL2.5_3B'):
        with pytest.raises(ValueError, match='allowed: Qwen2.5_3B'):
            locate(name)
    for name in (str(tmp_path / 'none'), '../none', 'Qwen2.5_3B'):
        with pytest.raises(ValueError, match='images; allowed: QwenVL2.5_3B'):
            locate(name, True)
    with pytest.raises(ValueError, match='qwen2: for images one of type qwen'):
        locate(str(language_model), True)
    with pytest.raises(ValueError, match='qwen2_5_vl: for text alone'):
        locate(str(vision_model))


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
    monkeypatch.setenv('DASH_API_URL', f'{dashscope.address}/elsewhere')
    dashscope.answers = ['a long prompt']
    out = DashScopePromptExpander()(PROMPT, tar_lang='en', seed=2**31 + 5)
    assert out == PromptOutput(
        True, 'a long prompt', 2**31 + 5, LM_EN_SYS_PROMPT, '')
    assert dashscope.calls == [(
        '/api/v1/elsewhere/services/aigc/text-generation/generation',
        'Bearer a-key', {
            'model': 'qwen-plus', 'input': {'messages': [
                {'role': 'system', 'content': LM_EN_SYS_PROMPT},
                {'role': 'user', 'content': PROMPT}]},
            'parameters': {'seed': 5, 'result_format': 'message'}})]


def test_dashscope_request_with_images(dashscope):
    dashscope.answers = ['a long prompt', 'another']
    expander = DashScopePromptExpander(is_vl=True, max_image_size=128 * 128)
    small = Image.new('RGB', (20, 10), 'green')
    assert expander(
        PROMPT, tar_lang='en', image=[RED, small], seed=1).status
    # A question without images goes to the same model.
    assert expander(PROMPT, 'my own rules', seed=1).prompt == 'another'
    (path, _, body), (_, _, plain) = dashscope.calls
    assert path == '/api/v1/services/aigc/multimodal-generation/generation'
    assert body['model'] == 'qwen-vl-max'
    assert body['parameters'] == {'seed': 1, 'result_format': 'message'}
    system, user = body['input']['messages']
    assert system == {'role': 'system', 'content': [
        {'text': VL_EN_SYS_PROMPT_FOR_MULTI_IMAGES}]}
    first, second, text = user['content']
    assert text == {'text': PROMPT}
    red, green = sent_image(first), sent_image(second)
    assert 0.97 * 128**2 < math.prod(red.size) <= 128 * 128
    assert red.width / red.height == pytest.approx(1.5, rel=.02)
    assert red.getpixel((3, 3)) == (255, 0, 0)
    assert (green.size, green.getpixel((3, 3))) == ((20, 10), (0, 128, 0))
    assert plain['input']['messages'] == [
        {'role': 'system', 'content': [{'text': 'my own rules'}]},
        {'role': 'user', 'content': [{'text': PROMPT}]}]


def test_dashscope_tries_again(dashscope):
    dashscope.answers = [
        (429, 'Throttling', 'too fast'), OSError('no network'),
        'a long prompt']
    assert DashScopePromptExpander(retry_times=3)(PROMPT).status
    assert len(dashscope.calls) == 2 and not dashscope.answers


@pytest.mark.parametrize('times', [1, 3])
@pytest.mark.parametrize('images', [None, [RED, BLUE]])
def test_dashscope_gives_up(dashscope, caplog, times, images):
    dashscope.answers = [(429, 'Throttling', 'too fast')] * 5
    out = DashScopePromptExpander(retry_times=times, is_vl=bool(images))(
        PROMPT, image=images)
    assert len(dashscope.calls) == times
    assert not out.status and out.prompt == PROMPT
    assert out.message == \
        'RuntimeError: DashScope answered 429 Throttling: too fast'
    assert out.message in caplog.text and 'a-key' not in caplog.text


def test_dashscope_needs(dashscope, monkeypatch):
    with pytest.raises(ValueError, match='retry_times is 0'):
        DashScopePromptExpander(retry_times=0)
    with pytest.raises(ValueError, match='max_image_size is 0'):
        DashScopePromptExpander(max_image_size=0, is_vl=True)
    monkeypatch.delenv('DASH_API_KEY')
    assert DashScopePromptExpander('my-key', 'qwen-max').api_key == 'my-key'
    with pytest.raises(ValueError, match='DASH_API_KEY'):
        DashScopePromptExpander()
    monkeypatch.setitem(sys.modules, 'dashscope', None)  # as if missing
    with pytest.raises(ValueError, match='pip install dashscope'):
        DashScopePromptExpander('my-key')
