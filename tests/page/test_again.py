r"""What a result tells of its making, and how a shell is told the same."""
import json
import shlex

import pytest
import torch
from PIL import Image

import generate
from tests.page.edits import CLIP, EXAMPLES, PHOTOS, SOURCE, TARGET
from wan import jobs
from wan.jobs.origin import write_record
from wan.page.again import command, settings_of
from wan.tasks import TASKS
from wan.utils.flags import kinds, parse
from wan.utils.utils import cache_video, save_image

EDIT = {
    'src_video': str(EXAMPLES / 'template.mp4'),
    'target_image': tuple(map(str, PHOTOS[:2])),
    'source_prompt': SOURCE, 'target_prompt': TARGET, 'end': 0.3,
    'base_seed': 7, 'ref_c': (0.1, 0.2), 'use_mask': False,
    'ref_preset': 'best', 'attention': 'math', 'check_photo': True}
NOT_TAKEN = {'attention', 'save_file'}


def recorded(tmp_path, task, settings):
    r"""The record of a job that is checked, and not run."""
    return jobs.prepare(
        TASKS, task, {**settings, 'save_file': str(tmp_path / 'it.mp4')}).record


@pytest.fixture(scope='module')
def record(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp('again'), 'pvtt', EDIT)


def as_json(record, path):
    write_record(path, record.as_dict())


def as_mp4(record, path):
    cache_video(torch.zeros(1, 3, 1, 16, 16), path, fps=8, nrow=1,
                metadata=record.as_metadata())


def as_png(record, path):
    save_image(Image.new('RGB', (4, 4)), path, metadata=record.as_metadata())


@pytest.mark.parametrize('write, name', (
    (as_json, 'it.json'), (as_mp4, 'it.mp4'), (as_mp4, 'it.mov'),
    (as_png, 'it.png')))
def test_every_file_tells_the_same(record, tmp_path, write, name):
    write(record, tmp_path / name)
    task, settings, missing = settings_of(tmp_path / name, EXAMPLES)
    assert task == 'pvtt' and missing == ()
    assert {name: settings.get(name) for name in EDIT} == {
        **EDIT, 'attention': None}
    assert not NOT_TAKEN & {*settings}


def test_the_same_job_again(record, tmp_path):
    as_json(record, tmp_path / 'it.json')
    task, settings, _ = settings_of(tmp_path / 'it.json', EXAMPLES)
    again = recorded(tmp_path / 'again', task, settings)
    for name, value in record.arguments.items():
        if name not in NOT_TAKEN:
            assert again.arguments[name] == value, name


def test_files_that_are_not_here(record, tmp_path):
    as_json(record, tmp_path / 'it.json')
    _, settings, missing = settings_of(
        tmp_path / 'it.json', [tmp_path, EDIT['src_video']])
    assert missing == ('target_image',)
    assert settings['src_video'] == EDIT['src_video']
    assert 'target_image' not in settings


def told(tmp_path, arguments):
    path = tmp_path / 'it.json'
    path.write_text(json.dumps({'arguments': arguments}))
    return path


@pytest.mark.parametrize('arguments, words', (
    ({'task': 'rm -rf'}, "it.json is of task 'rm -rf', known are t2v-14B"),
    ({}, "it.json is of task 'None'"),
    ({'task': ['pvtt']}, 'it.json is of task'),
    ({'task': 't2v-tiny', 'promt': 'x'},
     "it.json has a setting 'promt', which is not known here; the nearest is "
     "'prompt'."),
    ({'task': 't2v-tiny', 'frame_num': 'many'},
     "frame_num is 'many', expected a whole number."),
    ({'task': 't2v-tiny', 'sample_steps': 10**9}, 'sample_steps is'),
    ({'task': 'pvtt', 'codec': 'exe'}, "codec is 'exe', allowed: "),
    ({'task': 'pvtt', 'target_image': [['x']]}, ''),
))
def test_what_is_not_known_here(tmp_path, arguments, words):
    if not words:  # it is a name as good as any, and no such file is here
        assert settings_of(
            told(tmp_path, arguments), tmp_path).missing == ('target_image',)
        return
    with pytest.raises(ValueError) as caught:
        settings_of(told(tmp_path, arguments), tmp_path)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize('text', (
    '', '[]', '{"arguments": []}', '{', 'x' * 100, '[' * 10**5,
    '{"arguments": {"task": "t2v-tiny"', 'null'))
def test_no_record(tmp_path, text):
    path = tmp_path / 'it.json'
    path.write_text(text)
    with pytest.raises(ValueError, match='^it.json tells no settings: '):
        settings_of(path, tmp_path)


def test_a_foreign_video_or_picture(tmp_path):
    with pytest.raises(ValueError, match='^template.mp4 tells no settings'):
        settings_of(EXAMPLES / 'template.mp4', tmp_path)
    Image.new('RGB', (4, 4)).save(tmp_path / 'it.png')
    with pytest.raises(ValueError, match='^it.png tells no settings'):
        settings_of(tmp_path / 'it.png', tmp_path)
    (tmp_path / 'it.mp4').write_text('no video')
    with pytest.raises(ValueError, match='not a readable video'):
        settings_of(tmp_path / 'it.mp4', tmp_path)


@pytest.mark.parametrize('task, settings', (
    ('pvtt', EDIT),
    ('pvtt', {'source_prompt': "it's $HOME `id` \"x\"\n; rm", 'start': -1}),
    ('t2v-tiny', {**CLIP, 'prompt': '--task x'}),
    ('t2v-tiny', {'prompt': 'a', 'compile': True, 'offload_model': False}),
))
def test_the_command_line_says_the_same(task, settings):
    words = shlex.split(command(task, settings))
    assert words[:2] == ['python', 'generate.py']
    parsed = generate.parse_args(words[2:])
    row = TASKS[parsed.task]
    assert parsed.task == task
    for name in settings:
        kind = next(kinds(cls)[name] for cls in row.kinds
                    if name in kinds(cls))
        assert parse(name, kind, parsed.given[name]) == parse(
            name, kind, settings[name])


def test_only_what_is_no_default():
    assert command('t2v-tiny', {
        'prompt': 'a disc.', 'sample_solver': 'unipc', 'base_seed': -1,
        'n_prompt': None, 'save_file': '', 'sample_steps': '25',
        'frame_num': 17, 'use_prompt_extend': 'false'}) == \
        "python generate.py --task t2v-tiny --prompt 'a disc.'"
