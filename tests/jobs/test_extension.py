r"""--use_prompt_extend: checked early, run first, kept in the record."""
import json
import logging
import sys

import pytest

import generate
from tests.cli import prepared
from tests.utils.language_models import (
    DashScope,
    bad,
    write_language_model,
)
from wan import jobs
from wan.jobs import running
from wan.text2video import WanT2V
from wan.utils import prompt_extend
from wan.utils.prompt_extend import QwenPromptExpander

PROMPT = 'a red watch on a wooden table'


@pytest.fixture(scope='module')
def language_model(tmp_path_factory):
    return write_language_model(tmp_path_factory.mktemp('qwen'))


@pytest.fixture
def argv(checkpoint, tmp_path):
    return [
        '--task', 't2v-tiny', '--size', '128*128', '--frame_num', '1',
        '--sample_steps', '1', '--sample_guide_scale', '1', '--device', 'cpu',
        '--dtype', 'float32', '--base_seed', '3', '--prompt', PROMPT,
        '--ckpt_dir', str(checkpoint), '--use_prompt_extend',
        '--save_file', str(tmp_path / 'out.mp4')]


def test_extends_the_prompt(
        argv, tmp_path, language_model, monkeypatch):
    encoded = []
    encode_text = WanT2V.encode_text

    def spy(pipe, prompts, *more):
        encoded.append(prompts['cond'])
        return encode_text(pipe, prompts, *more)

    monkeypatch.setattr(WanT2V, 'encode_text', spy)
    assert generate.main([
        *argv, '--prompt_extend_model', str(language_model)]) == 0
    record = json.loads((tmp_path / 'out.json').read_text())
    expected = QwenPromptExpander(str(language_model), 'cpu')(
        PROMPT, tar_lang='zh', seed=3).prompt
    assert record['arguments']['prompt'] == PROMPT
    assert record['results']['prompt_extended'] == expected
    assert record['results']['prompt_extend_failure'] is None
    assert tuple(record['seconds']) == prepared(
        *argv, '--prompt_extend_model', language_model).stages
    assert list(record['seconds'])[:2] == ['extend prompt', 'load']
    assert encoded == [expected]


def test_frees_the_language_model_before_the_video_model(
        argv, language_model, monkeypatch):
    order = []

    class Expander(QwenPromptExpander):
        def __del__(self):
            order.append('freed')

    def load(job, progress):
        order.append('load')
        raise KeyboardInterrupt

    monkeypatch.setattr('wan.jobs.extension.QwenPromptExpander', Expander)
    monkeypatch.setattr(running, 'load', load)
    assert generate.main([
        *argv, '--prompt_extend_model', str(language_model)]) == 130
    assert order == ['freed', 'load']


def test_goes_on_with_the_prompt(argv, tmp_path, monkeypatch, caplog):
    dashscope = DashScope()
    monkeypatch.setitem(sys.modules, 'dashscope', dashscope)
    monkeypatch.setenv('DASH_API_KEY', 'a-key')
    monkeypatch.setattr(prompt_extend, 'RETRY_SECONDS', 0.)
    dashscope.answers = [bad(401, 'InvalidApiKey', 'no')] * 4
    assert generate.main([*argv, '--prompt_extend_method', 'dashscope']) == 0
    record = json.loads((tmp_path / 'out.json').read_text())
    assert record['results']['prompt_extended'] is None
    assert 'InvalidApiKey' in record['results']['prompt_extend_failure']
    [warning] = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert 'InvalidApiKey' in warning.message


@pytest.mark.parametrize('flags, why', [
    (['--prompt_extend_model', 'no/such/folder'], 'no/such/folder'),
    (['--prompt_extend_method', 'dashscope'], 'dashscope'),
    (['--task', 'pvtt'], 'is not a setting of task pvtt'),
])
def test_checks_first(argv, flags, why, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'dashscope', None)
    assert generate.main([*argv, *flags]) == 2
    assert why in capsys.readouterr().err


def test_without_extension_asks_for_nothing(argv, monkeypatch):
    monkeypatch.setitem(sys.modules, 'dashscope', None)
    monkeypatch.delenv('DASH_API_KEY', raising=False)
    job = prepared(*[a for a in argv if a != '--use_prompt_extend'],
                   '--prompt_extend_method', 'dashscope')
    assert 'extend prompt' not in jobs.plan(job)
    assert job.work.notes == (
        'prompt_extend_method has no effect: use_prompt_extend is off.',)


def test_plan_tells_of_it(argv, language_model):
    job = prepared(*argv, '--prompt_extend_model', language_model)
    assert 'stages       extend prompt, load, ' in jobs.plan(job)
