r"""The prompts of an edit, written from what its photos show."""
import json
import re
import sys

import pytest
import torch

import generate
import run_experiments
from tests.cli import failure, frames, nothing_changes, prepared, result
from tests.edits import PLAIN, SOURCE, TARGET, draw, edit_flags
from tests.utils.language_models import dashscope_service, sent_image
from wan.experiments import batch
from wan.experiments.experiment import KEY, Experiment
from wan.jobs.edit_prompts import FORM
from wan.jobs.edit_settings import EditInputs
from wan.pvtt import WanPVTT
from wan.utils import dashscope_expander
from wan.utils.progress import Progress
from wan.utils.prompt_texts import CAPTION_PROMPTS, PAIR_PROMPTS

CAPTION = 'a green bag of glass'
NEW = 'a red vase on a wooden shelf', 'a green glass bag on a wooden shelf'
PAIR = 'SOURCE: {}\nTARGET: {}\n'.format(*NEW)
EXTEND = ('--use_prompt_extend', '--prompt_extend_method', 'dashscope')
QUICK = ('--measure', 'false')
BLEND = ('--source_blend', 'vase', '--target_blend', 'watch')


@pytest.fixture
def dashscope(monkeypatch):
    with dashscope_service() as module:
        monkeypatch.setitem(sys.modules, 'dashscope', module)
        monkeypatch.setenv('DASH_API_KEY', 'a-key')
        monkeypatch.delenv('DASH_API_URL', raising=False)
        monkeypatch.setattr(dashscope_expander, 'RETRY_SECONDS', 0.)
        yield module


@pytest.fixture
def encoded(monkeypatch):
    r"""The prompts that reach the text encoder."""
    seen, encode_text = [], WanPVTT.encode_text

    def spy(pipe, prompts, *more):
        seen.extend(prompts.values())
        return encode_text(pipe, prompts, *more)

    monkeypatch.setattr(WanPVTT, 'encode_text', spy)
    return seen


def said_to(dashscope):
    r"""(instructions, text, pictures) of each question."""
    for path, _, body in dashscope.calls:
        system, user = (m['content'] for m in body['input']['messages'])
        if 'multimodal' not in path:
            yield system, user, []
            continue
        *pictures, text = user
        yield system[0]['text'], text['text'], [
            sent_image(part) for part in pictures]


def test_prompts_come_from_the_photo(
        checkpoint, media, tmp_path, dashscope, encoded):
    dashscope.answers = [CAPTION, PAIR]
    path = tmp_path / 'edit.mp4'
    flags = edit_flags(checkpoint, media, path, *QUICK, *EXTEND)
    record = result(generate.main(flags), path)
    assert set(NEW) <= set(encoded)
    assert not {SOURCE, TARGET} & set(encoded)
    results = record['results']
    assert results['source_prompt_extended'] == NEW[0]
    assert results['target_prompt_extended'] == NEW[1]
    assert results['photo_caption'] == CAPTION
    assert results['prompt_extend_failure'] is None
    assert record['arguments']['source_prompt'] == SOURCE
    assert record['arguments']['target_prompt'] == TARGET
    assert list(record['seconds']) == list(prepared(*flags).stages)
    caption, pair = said_to(dashscope)
    assert caption[:2] == (CAPTION_PROMPTS['en'], 'Describe the product.')
    [photo] = caption[2]
    assert (photo.size, photo.mode) == ((64, 48), 'RGB')
    assert photo.getpixel((0, 0)) == (255, 255, 255)  # clear in the file
    assert photo.getpixel((32, 24)) == (255, 0, 0)
    assert pair == (
        PAIR_PROMPTS['en'],
        f'SOURCE: {SOURCE}\nTARGET: {TARGET}\nPHOTO: {CAPTION}', [])
    # Bit for bit the edit whose prompts the user gives.
    other = tmp_path / 'given.mp4'
    assert generate.main(edit_flags(
        checkpoint, media, other, *QUICK, '--source_prompt', NEW[0],
        '--target_prompt', NEW[1])) == 0
    assert torch.equal(frames(path), frames(other))


def test_without_a_photo_text_alone_is_asked(
        shell, media, tmp_path, dashscope):
    dashscope.answers = [PAIR]
    job = prepared(*edit_flags(
        shell, media, tmp_path / 'x.mp4', *PLAIN, '--src_mask', '', *EXTEND))
    assert job.work.images == ()
    done = job.row.before(job, Progress())
    assert done.settings[EditInputs].target_prompt == NEW[1]
    assert 'photo_caption' not in done.record.results
    assert [*said_to(dashscope)] == [
        (PAIR_PROMPTS['en'], f'SOURCE: {SOURCE}\nTARGET: {TARGET}', [])]


def test_photos_that_are_pushed_away_are_not_described(shell, media):
    draw('RGBA', ground=(0, 0, 0, 0), colour='blue').save(media / 'blue.png')
    files = f'{media / "cut.png"},{media / "blue.png"}'

    def shown(weights):
        images = prepared(*edit_flags(
            shell, media, media / 'x.mp4', '--target_image', files,
            f'--ref_c={weights}')).work.images
        return [image.getpixel((32, 24)) for image in images]

    red, blue = (255, 0, 0, 255), (0, 0, 255, 255)
    assert shown('0.2,0.1') == shown('0.2,0') == [red, blue]
    assert shown('-0.2,0.1') == [blue]


def test_a_dry_run_prints_prompts_and_caption(
        shell, media, tmp_path, capsys, dashscope):
    dashscope.answers = [CAPTION, PAIR]
    with nothing_changes(tmp_path):
        assert generate.main(edit_flags(
            shell, media, tmp_path / 'x.mp4', *EXTEND, '--dry_run')) == 0
    plan = capsys.readouterr().out
    for name, text in (('source_prompt', NEW[0]), ('target_prompt', NEW[1]),
                       ('photo_caption', CAPTION)):
        assert re.search(f'^{name} {text}$', plan, re.MULTILINE)
    assert 'stages       extend prompt, load, encode text, ' in plan


@pytest.mark.parametrize('answers, why', (
    (['', '', '', ''], 'answered nothing'),
    ([CAPTION, NEW[1]], 'did not answer with the two lines'),
    ([CAPTION, f'{PAIR}I hope this helps.'], 'two lines SOURCE and TARGET'),
    ([CAPTION, f'Here they are:\n{PAIR}'], 'two lines SOURCE and TARGET'),
    ([CAPTION, PAIR.replace('\n', ' ')], 'two lines SOURCE and TARGET'),
    ([CAPTION, f'SOURCE: \nTARGET: {NEW[1]}'], 'two lines'),
    ([CAPTION, f'SOURCE: {NEW[0]}\nTARGET: {NEW[0]}'], 'the same prompt'),
    ([CAPTION, PAIR], "target_blend: 'watch'"),
    ([CAPTION, PAIR.replace('vase', 'bag').replace('green', 'watch')],
     "source_blend: 'vase'"),
    ([(400, 'InvalidParameter', 'no such image')] * 4, 'no such image')))
def test_what_is_not_two_prompts_is_a_failure(
        shell, media, tmp_path, capsys, dashscope, answers, why):
    dashscope.answers = list(answers)
    flags = edit_flags(
        shell, media, tmp_path / 'x.mp4', *EXTEND, *BLEND, '--src_mask', '')
    with nothing_changes(tmp_path):
        said = failure(capsys, 1, flags)
    assert said.startswith('ExtensionFailed: ') and why in said
    dashscope.answers = list(answers)
    assert generate.main(
        [*flags, '--prompt_extend_fallback', '--dry_run']) == 0
    plan = capsys.readouterr().out
    assert not re.search('^(source|target)_prompt', plan, re.MULTILINE)
    note = re.search('^note +(.*Your own prompt is used)', plan, re.MULTILINE)
    assert why in note[1]


def test_the_words_to_find_the_product_by_are_asked_for(
        shell, media, tmp_path, dashscope):
    dashscope.answers = [CAPTION, (
        'SOURCE: a vase on glass\nTARGET: a watch on glass')]
    job = prepared(*edit_flags(
        shell, media, tmp_path / 'x.mp4', *EXTEND, *BLEND, '--src_mask', ''))
    done = job.row.before(job, Progress())
    assert done.settings[EditInputs].source_prompt == 'a vase on glass'
    assert [*said_to(dashscope)][1][1].splitlines()[-2:] == [
        'KEEP IN SOURCE: vase', 'KEEP IN TARGET: watch']


def test_in_chinese(shell, media, tmp_path, dashscope):
    dashscope.answers = [
        '绿色玻璃包', 'SOURCE: 桌上的红花瓶\nTARGET: 桌上的绿包']
    job = prepared(*edit_flags(
        shell, media, tmp_path / 'x.mp4', *EXTEND,
        '--prompt_extend_target_lang', 'zh'))
    done = job.row.before(job, Progress())
    assert done.settings[EditInputs].target_prompt == '桌上的绿包'
    assert [rules for rules, *_ in said_to(dashscope)] == [
        CAPTION_PROMPTS['zh'], PAIR_PROMPTS['zh']]


@pytest.mark.parametrize('more, why', (
    (('--ref_bank', '{tmp}/bank.safetensors'), 'a dry run with it prints'),
    (('--prompt_extend_method', 'local_qwen', '--prompt_extend_model',
      'Qwen2.5_7B'), 'allowed: QwenVL2.5_3B'),
    (('--prompt_extend_method', 'local_qwen', '--prompt_extend_model',
      '{tmp}/text'), 'for images one of type qwen2_5_vl'),
    (('--target_blend', 'bag'), "target_blend: 'bag'")))
def test_bad_input_is_found_first(
        shell, media, tmp_path, capsys, dashscope, more, why):
    (tmp_path / 'text').mkdir()
    (tmp_path / 'text/config.json').write_text(
        json.dumps({'model_type': 'qwen2'}))
    with nothing_changes(tmp_path):
        said = failure(capsys, 2, edit_flags(
            shell, media, tmp_path / 'x.mp4', *EXTEND,
            *(flag.format(tmp=tmp_path) for flag in more)))
    assert why in said
    assert dashscope.calls == []


def test_experiments_take_its_settings(
        checkpoint, media, tmp_path, dashscope, capsys):
    file = tmp_path / 'one.yaml'
    file.write_text(f"""
video:
  src_video: {media / 'clip.mp4'}
  target_image: {media / 'cut.png'}
  source_prompt: {SOURCE}
  target_prompt: {TARGET}
  frame_num: 1
  use_prompt_extend: true
  prompt_extend_method: dashscope
  prompt_extend_model: my-vl-model
flowalign:
  use_mask: false
  sample_steps: 3
  save_comparison: false
  measure: false
""")
    argv = [str(file), '--ckpt_dir', str(checkpoint), '--out',
            str(tmp_path / 'out')]

    def run(*more):
        dashscope.answers, dashscope.calls[:] = [CAPTION, PAIR], []
        assert run_experiments.main([*argv, *more]) == 0
        return [call[2]['model'] for call in dashscope.calls]

    assert run('--dry_run') == ['my-vl-model'] * 2
    assert f'target_prompt {NEW[1]}' in capsys.readouterr().out
    assert run() == ['my-vl-model'] * 2
    made = json.loads((tmp_path / 'out/one/result.json').read_text())
    assert made['results']['photo_caption'] == CAPTION
    assert run('--dry_run') == []  # finished before
    assert run('--dry_run', '--prompt_extend_target_lang', 'zh') == [
        'my-vl-model'] * 2


def test_an_experiment_depends_on_its_language_model(
        checkpoint, media, tmp_path):
    model, clip = tmp_path / 'model', tmp_path / 'clip'
    model.mkdir()
    (model / 'config.json').write_text('{"model_type": "qwen2"}')
    clip.mkdir()
    for number in range(5):
        draw(size=(128, 128)).save(clip / f'{number}.png')
    given = {
        'ckpt_dir': checkpoint, 'src_video': str(clip), 'frame_num': 1,
        'source_prompt': SOURCE, 'target_prompt': TARGET, 'base_seed': 0,
        'use_reference': False, 'use_mask': False, 'use_prompt_extend': True,
        'prompt_extend_model': str(model)}

    def key():
        return batch.prepare(Experiment(tmp_path / 'x', 'pvtt', given)) \
            .record.arguments[KEY]

    before = key()
    assert key() == before
    (model / 'model.safetensors').write_bytes(b'weights')
    after = key()
    assert after != before
    draw(size=(128, 128), colour='blue').save(clip / '0.png')
    assert key() not in (before, after)


def test_the_form_of_an_answer():
    for answer in ('SOURCE: a\nTARGET: b', 'SOURCE:a\n\nTARGET:b'):
        assert FORM.fullmatch(answer).groups() == ('a', 'b')
    for answer in ('source: a\ntarget: b', 'TARGET: a\nSOURCE: b',
                   '**SOURCE: a**', 'SOURCE: a\nTARGET: b\nPHOTO: c'):
        assert FORM.fullmatch(answer) is None
