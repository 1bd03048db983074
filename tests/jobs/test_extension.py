r"""--use_prompt_extend: checked early, run first, kept in the record."""
import json
import logging
import re
import sys
from dataclasses import replace

import pytest
from PIL import Image

import generate
from tests.cli import failure, nothing_changes, prepared, result
from tests.utils.language_models import (
    dashscope_service,
    sent_image,
    write_language_model,
    write_vision_model,
)
from wan import jobs
from wan.jobs import running
from wan.jobs.extension import Extension, ExtensionSettings, extended
from wan.text2video import WanT2V
from wan.utils import dashscope_expander
from wan.utils.progress import Progress
from wan.utils.prompt_extend import QwenPromptExpander

PROMPT = 'a red watch on a wooden table'
DASHSCOPE = ('--prompt_extend_method', 'dashscope')


@pytest.fixture(scope='module')
def language_model(tmp_path_factory):
    return write_language_model(tmp_path_factory.mktemp('qwen'))


@pytest.fixture
def dashscope(monkeypatch):
    with dashscope_service() as module:
        monkeypatch.setitem(sys.modules, 'dashscope', module)
        monkeypatch.setenv('DASH_API_KEY', 'a-key')
        monkeypatch.delenv('DASH_API_URL', raising=False)
        monkeypatch.setattr(dashscope_expander, 'RETRY_SECONDS', 0.)
        yield module


def flags(ckpt_dir, folder, *more):
    r"""A small video with its prompt extended."""
    return [str(flag) for flag in (
        '--task', 't2v-tiny', '--size', '128*128', '--frame_num', 1,
        '--sample_steps', 1, '--sample_guide_scale', 1, '--device', 'cpu',
        '--dtype', 'float32', '--base_seed', 3, '--prompt', PROMPT,
        '--ckpt_dir', ckpt_dir, '--use_prompt_extend',
        '--save_file', folder / 'out.mp4', *more)]


@pytest.fixture
def argv(checkpoint, tmp_path):
    return flags(checkpoint, tmp_path)


def encoded(monkeypatch):
    r"""The prompts that reach the text encoder."""
    seen, encode_text = [], WanT2V.encode_text

    def spy(pipe, prompts, *more):
        seen.append(prompts['cond'])
        return encode_text(pipe, prompts, *more)

    monkeypatch.setattr(WanT2V, 'encode_text', spy)
    return seen


def test_extends_the_prompt(
        argv, tmp_path, language_model, monkeypatch, caplog):
    seen = encoded(monkeypatch)
    argv = [*argv, '--prompt_extend_model', str(language_model)]
    with caplog.at_level(logging.INFO):
        record = result(generate.main(argv), tmp_path / 'out.mp4')
    expected = QwenPromptExpander(str(language_model), 'cpu')(
        PROMPT, tar_lang='zh', seed=3).prompt
    assert record['arguments']['prompt'] == PROMPT
    assert record['results']['prompt_extended'] == expected
    assert record['results']['prompt_extend_failure'] is None
    assert tuple(record['seconds']) == prepared(*argv).stages
    assert list(record['seconds'])[:2] == ['extend prompt', 'load']
    assert seen == [expected]
    assert f'prompt, extended: {expected}' in caplog.text


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
    argv = [*argv, '--prompt_extend_model', str(language_model)]
    assert generate.main(argv) == 130
    assert order == ['freed', 'load']
    monkeypatch.setattr(Expander, 'complete', lambda *_: 1 / 0)
    assert generate.main([*argv, '--prompt_extend_fallback']) == 130
    assert order == ['freed', 'load'] * 2


def test_a_failure_ends_the_job(shell, tmp_path, capsys, dashscope):
    r"""No video model is read: this checkpoint has none."""
    dashscope.answers = [(401, 'InvalidApiKey', 'no such key.')] * 4
    with nothing_changes(tmp_path):
        said = failure(capsys, 1, flags(shell, tmp_path, *DASHSCOPE))
    assert said == (
        'ExtensionFailed: The prompt cannot be extended: RuntimeError: '
        'DashScope answered 401 InvalidApiKey: no such key.')
    assert len(dashscope.calls) == 4


def test_a_fallback_goes_on_with_the_prompt(
        argv, tmp_path, monkeypatch, caplog, dashscope):
    seen = encoded(monkeypatch)
    dashscope.answers = [(401, 'InvalidApiKey', 'no')] * 4
    record = result(generate.main(
        [*argv, *DASHSCOPE, '--prompt_extend_fallback']),
        tmp_path / 'out.mp4')
    assert seen == [PROMPT]
    cause = record['results']['prompt_extend_failure']
    assert cause.endswith('DashScope answered 401 InvalidApiKey: no.')
    assert record['results']['prompt_extended'] is None
    note = f'{cause} Your own prompt is used.'
    assert record['results']['notes'][-1] == note
    assert note in [r.message for r in caplog.records
                    if r.levelno == logging.WARNING]


def test_a_fallback_serves_where_no_model_can_be_loaded(
        argv, language_model, tmp_path, capsys):
    broken = tmp_path / 'broken'
    broken.mkdir()
    (broken / 'config.json').write_bytes(
        (language_model / 'config.json').read_bytes())
    argv = [*argv, '--prompt_extend_model', str(broken)]
    with nothing_changes(tmp_path):
        assert generate.main(argv) == 2
    assert 'Cannot load the language model' in capsys.readouterr().err
    record = result(generate.main(
        [*argv, '--prompt_extend_fallback']), tmp_path / 'out.mp4')
    assert 'Cannot load' in record['results']['prompt_extend_failure']


@pytest.mark.parametrize('more, why', (
    (['--prompt_extend_model', 'no/such/folder'], 'no/such/folder'),
    (['--prompt_extend_model', 'QwenVL2.5_3B'], 'allowed: Qwen2.5_3B'),
    (['--prompt_extend_model', '{vision}'], 'for text alone'),
    (['--prompt_extend_model', '{empty}'], 'no config.json'),
    (DASHSCOPE, 'DASH_API_KEY'),
    (['--prompt_extend_method', 'other'], 'other'),
    (['--prompt_extend_target_lang', 'fr'], 'fr')))
def test_checks_first(
        shell, tmp_path, more, why, capsys, dashscope, monkeypatch):
    monkeypatch.delenv('DASH_API_KEY')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'vision').mkdir()
    (tmp_path / 'vision/config.json').write_text(
        json.dumps({'model_type': 'qwen2_5_vl'}))
    folders = {name: tmp_path / name for name in ('empty', 'vision')}
    with nothing_changes(tmp_path):
        said = failure(capsys, 2, flags(
            shell, tmp_path, *(flag.format(**folders) for flag in more)))
    assert why in said


def test_checks_for_the_package_first(shell, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'dashscope', None)
    assert 'pip install dashscope' in failure(
        capsys, 2, flags(shell, tmp_path, *DASHSCOPE))


def test_without_extension_asks_for_nothing(argv, monkeypatch):
    monkeypatch.setitem(sys.modules, 'dashscope', None)
    monkeypatch.delenv('DASH_API_KEY', raising=False)
    job = prepared(*[a for a in argv if a != '--use_prompt_extend'],
                   *DASHSCOPE, '--prompt_extend_fallback')
    assert jobs.begin(job) is job
    assert 'extend prompt' not in jobs.plan(job)
    assert job.work.notes == (
        'prompt_extend_method, prompt_extend_fallback have no effect: '
        'use_prompt_extend is off.',)


def test_a_dry_run_prints_the_prompt(shell, tmp_path, capsys, dashscope):
    dashscope.answers = ['a long\nprompt']
    with nothing_changes(tmp_path):
        assert generate.main(flags(
            shell, tmp_path, *DASHSCOPE, '--dry_run')) == 0
    plan = capsys.readouterr().out
    assert re.search('^prompt       a long prompt$', plan, re.MULTILINE)
    assert 'stages       extend prompt, load, ' in plan


def test_a_dry_run_fails_as_a_run_does(shell, tmp_path, capsys, dashscope):
    dashscope.answers = [(401, 'InvalidApiKey', 'no')] * 8
    argv = flags(shell, tmp_path, *DASHSCOPE, '--dry_run')
    assert 'InvalidApiKey' in failure(capsys, 1, argv)
    assert generate.main([*argv, '--prompt_extend_fallback']) == 0
    plan = capsys.readouterr().out
    assert not re.search('^prompt ', plan, re.MULTILINE)
    assert re.search('^note .*Your own prompt is used', plan, re.MULTILINE)


# Images, of whatever task


def with_images(job, *images):
    r"""A text job as one that is given images."""
    return replace(job, work=replace(job.work, images=images))


@pytest.mark.parametrize('count', (1, 2))
def test_images_are_shown(argv, tmp_path, dashscope, count):
    dashscope.answers = ['what is seen']
    red = Image.new('RGB', (30, 20), 'red')
    Image.new('RGB', (20, 30), 'blue').save(tmp_path / 'blue.png')
    job = with_images(prepared(*argv, *DASHSCOPE), *(
        red, str(tmp_path / 'blue.png'))[:count])
    done = extended(job, Progress())
    assert done.settings.flat()['prompt'] == 'what is seen'
    assert job.settings.flat()['prompt'] == PROMPT
    [(path, _, body)] = dashscope.calls
    assert 'multimodal' in path and body['model'] == 'qwen-vl-max'
    *pictures, text = body['input']['messages'][1]['content']
    assert text == {'text': PROMPT}
    assert [sent_image(part).size for part in pictures] == [
        (30, 20), (20, 30)][:count]


def test_images_need_a_vision_model(language_model, tmp_path_factory):
    vision = str(write_vision_model(tmp_path_factory.mktemp('vision')))
    for sees, good, bad in ((False, str(language_model), vision),
                            (True, vision, str(language_model))):
        ExtensionSettings(True, prompt_extend_model=good).check(sees)
        ExtensionSettings(False, prompt_extend_model=bad).check(sees)
        with pytest.raises(ValueError, match='is of type'):
            ExtensionSettings(True, prompt_extend_model=bad).check(sees)


def test_a_local_vision_model_sees_the_image(argv, tmp_path_factory):
    vision = write_vision_model(tmp_path_factory.mktemp('vision'))
    image = Image.new('RGB', (30, 20), 'red')
    job = with_images(prepared(*argv), image)  # checked for a model of text
    settings = job.settings.having({'prompt_extend_model': str(vision)})
    job = replace(job, work=replace(job.work, settings=settings))
    assert extended(job, Progress()).settings.flat()['prompt'] == \
        QwenPromptExpander(str(vision), 'cpu', is_vl=True)(
            PROMPT, image=image, seed=3).prompt


def test_an_extension_says_what_becomes_of_its_answers(argv, dashscope):
    dashscope.answers = ['first', 'second']

    def write(job, ask):
        return {'n_prompt': ask('one', 'my rules'), 'aside': ask('two')}

    job = prepared(*argv, *DASHSCOPE)
    done = Extension(('n_prompt',), write)(job, Progress())
    assert done.settings.flat() == {
        **job.settings.flat(), 'n_prompt': 'first'}
    assert done.record.results == {
        'n_prompt_extended': 'first', 'aside': 'second',
        'prompt_extend_failure': None}
    systems = [call[2]['input']['messages'][0]['content']
               for call in dashscope.calls]
    assert systems[0] == 'my rules' != systems[1]
