r"""generate.py for image to video and first-last frame to video."""
import json
import os
import shutil

import pytest
import torch
from PIL import Image

import generate
from tests.cli import (
    embedded,
    failure,
    frames,
    hollow,
    interrupt,
    nothing_changes,
    prepared,
    result,
    share_pipelines,
)
from wan import configs, jobs
from wan.tasks import TASKS
from wan.utils.video import probe

CLIP = configs.WAN_CONFIGS['i2v-14B'].clip_checkpoint
STAGES = ('load', 'encode text', 'encode image', 'encode', 'denoise',
          'decode', 'save')
TYPES = {'i2v-14B': 'i2v', 'flf2v-14B': 'flf2v'}


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    r"""Images, and what is none, by name."""
    folder = tmp_path_factory.mktemp('pictures')
    noise = torch.Generator().manual_seed(0)
    for name, size in (('wide', (96, 48)), ('other', (96, 48)),
                       ('tall', (40, 80)), ('fitting', (832, 464))):
        pixels = torch.rand(size[1], size[0], 3, generator=noise) * 255
        Image.fromarray(pixels.byte().numpy()).save(folder / f'{name}.png')
    Image.new('RGBA', (96, 48), (255, 0, 0, 0)).save(folder / 'clear.png')
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new('RGB', (48, 96), 'red').save(folder / 'turned.jpg', exif=turned)
    Image.new('RGB', (2100, 100)).save(folder / 'band.png')
    (folder / 'text.png').write_text('no picture')
    return folder


@pytest.fixture(scope='module')
def shells(checkpoints, tmp_path_factory):
    r"""Checkpoints whose weights cannot be read, by task."""
    folder = tmp_path_factory.mktemp('hollow')
    return {task: hollow(checkpoints(kind), folder / kind)
            for task, kind in TYPES.items()}


@pytest.fixture(scope='module')
def pipelines():
    return {}


@pytest.fixture
def small_sizes(monkeypatch):
    r"""128*128 is a size of both tasks."""
    for task in TYPES:
        monkeypatch.setitem(configs.SUPPORTED_SIZES, task, ('128*128',))


def flags(task, ckpt_dir, pictures, save_file, *more):
    r"""A run at an official size, later flags override."""
    given = {'i2v-14B': ('--image', pictures / 'wide.png'),
             'flf2v-14B': ('--first_frame', pictures / 'wide.png',
                           '--last_frame', pictures / 'other.png')}
    return [str(flag) for flag in (
        '--task', task, '--ckpt_dir', ckpt_dir, '--size', '832*480',
        '--frame_num', 5, '--sample_steps', 1, '--prompt', 'a red vase',
        '--base_seed', 1, *given[task], '--save_file', save_file, *more)]


@pytest.fixture
def sample(checkpoints, pictures, tmp_path, monkeypatch, pipelines,
           small_sizes):
    r"""A small run with other flags; gives the video."""
    share_pipelines(monkeypatch, pipelines)

    def run(task, *more, name='sample.mp4'):
        path = tmp_path / name
        result(generate.main(flags(
            task, checkpoints(TYPES[task]), pictures, path,
            '--size', '128*128', *more)), path)
        return path

    return run


@pytest.mark.parametrize('task, size, frame_num, want', (
    ('i2v-14B', '832*480', 1, (880, 432)),
    ('i2v-14B', '128*128', 9, (176, 80)),
    ('flf2v-14B', '128*128', 9, (176, 80))))
def test_a_run_has_the_area_of_the_size_and_the_shape_of_the_image(
        checkpoints, pictures, tmp_path, monkeypatch, task, size,
        frame_num, want):
    if size == '128*128':
        monkeypatch.setitem(configs.SUPPORTED_SIZES, task, (size,))
    path = tmp_path / 'new' / 'x.mp4'
    given = flags(task, checkpoints(TYPES[task]), pictures, path,
                  '--size', size, '--frame_num', frame_num)
    record = result(generate.main(given), path)
    info = probe(path)
    assert (info.width, info.height, info.fps) == (*want, 16)
    assert frames(path).shape == (3, frame_num, *want[::-1])
    assert tuple(record['seconds']) == STAGES == prepared(*given).stages
    assert record['arguments']['task'] == task
    assert record['arguments']['size'] == size
    assert record['results']['notes'] == [
        f'{pictures / name}.png of 96x48 is resized to {want[0]}x{want[1]}.'
        for name in ('wide', 'other')[:1 + (task == 'flf2v-14B')]]
    assert embedded(path)['arguments'] == record['arguments']


@pytest.mark.parametrize('task', TYPES)
def test_the_job_is_what_the_pipeline_makes(
        checkpoints, pictures, tmp_path, small_sizes, task):
    job = prepared(*flags(
        task, checkpoints(TYPES[task]), pictures, tmp_path / 'x.mp4',
        '--size', '128*128', '--sample_solver', 'euler', '--n_prompt', 'x'))
    pipe = jobs.load(job)
    made = jobs.run(job, pipe)
    images = [Image.open(pictures / name) for name in (
        'wide.png', 'other.png')[:1 + (task == 'flf2v-14B')]]
    assert made.shape == (3, 5, 80, 176)
    assert torch.equal(made, pipe.generate(
        'a red vase', *images, max_area=128 * 128, frame_num=5,
        shift=job.record.arguments['sample_shift'], sample_solver='euler',
        sampling_steps=1, guide_scale=5.0, n_prompt='x', seed=1))


@pytest.mark.parametrize('task, flag', (
    ('i2v-14B', '--image'), ('flf2v-14B', '--first_frame'),
    ('flf2v-14B', '--last_frame')))
def test_every_image_matters(sample, pictures, task, flag):
    one = sample(task)
    other = sample(task, flag, pictures / 'clear.png', name='other.mp4')
    assert not torch.equal(frames(one), frames(other))


@pytest.mark.parametrize('size, shift', (
    ('832*480', 3.0), ('480*832', 3.0), ('1280*720', 5.0), (None, 5.0)))
def test_defaults_of_image_to_video(
        shells, pictures, tmp_path, size, shift):
    job = jobs.prepare(TASKS, 'i2v-14B', {
        'ckpt_dir': shells['i2v-14B'], 'image': pictures / 'wide.png',
        'prompt': 'x', 'size': size, 'save_file': tmp_path / 'x.mp4'})
    want = {'sample_shift': shift, 'sample_steps': 40, 'frame_num': 81,
            'sample_guide_scale': 5.0, 'size': size or '1280*720'}
    assert want.items() <= job.record.arguments.items()


def test_defaults_of_first_and_last_frame(shells, pictures, tmp_path):
    job = jobs.prepare(TASKS, 'flf2v-14B', {
        'ckpt_dir': shells['flf2v-14B'], 'prompt': 'x',
        'first_frame': pictures / 'wide.png', 'size': '832*480',
        'last_frame': pictures / 'tall.png', 'save_file': tmp_path / 'x.mp4'})
    want = {'sample_shift': 16.0, 'sample_steps': 50, 'frame_num': 81,
            'sample_guide_scale': 5.0}
    assert want.items() <= job.record.arguments.items()


@pytest.mark.parametrize('name, size, told', (
    ('wide.png', (880, 432), '96x48 is resized to 880x432.'),
    ('tall.png', (432, 880), '40x80 is resized to 432x880.'),
    ('fitting.png', (832, 464), None),
    ('clear.png', (880, 432), 'What is transparent is white.'),
    ('turned.jpg', (880, 432), '96x48 is resized to 880x432.')))
def test_the_image_tells_the_shape(
        shells, pictures, tmp_path, name, size, told):
    job = prepared(*flags(
        'i2v-14B', shells['i2v-14B'], pictures, tmp_path / 'x.mp4',
        '--image', pictures / name))
    assert job.work.size == size
    assert [image.mode for image in job.work.images] == ['RGB']
    plan = jobs.plan(job)
    assert f'3x5x{size[1]}x{size[0]}' in plan and 'CLIP' in plan
    notes = ' '.join(job.work.notes)
    assert told in notes and told in plan if told else not notes


def test_a_last_frame_of_another_shape_is_said_to_be_cropped(
        shells, pictures, tmp_path):
    last = pictures / 'tall.png'
    job = prepared(*flags(
        'flf2v-14B', shells['flf2v-14B'], pictures, tmp_path / 'x.mp4',
        '--last_frame', last))
    assert job.work.size == (880, 432)
    assert job.work.notes[-1] == (
        f'{last} of 40x80 is resized and cropped to 880x432.')


@pytest.mark.parametrize('task', TYPES)
def test_dry_run_prints_the_plan_and_reads_no_weights(
        shells, pictures, tmp_path, capsys, task):
    with nothing_changes(tmp_path):
        assert generate.main(flags(
            task, shells[task], pictures, tmp_path / 'new' / 'x.mp4',
            '--dry_run')) == 0
    assert f'stages       {", ".join(STAGES)}' in capsys.readouterr().out


# Bad input: exit 2, one sentence, no weights read, nothing written


@pytest.mark.parametrize('task, bad, told', (
    ('i2v-14B', {'image': ''}, 'image is missing: the task needs a picture'),
    ('i2v-14B', {'image': None}, 'image is missing: the task needs a picture'),
    ('i2v-14B', {'image': 'nowhere.png'}, 'is not an existing file'),
    ('i2v-14B', {'image': '.'}, 'is not an existing file'),
    ('i2v-14B', {'image': 'text.png'}, 'text.png is not a readable image'),
    ('i2v-14B', {'image': 'band.png'}, 'one side may be at most 20 times'),
    ('i2v-14B', {'prompt': None}, 'prompt is missing: say what to show.'),
    ('i2v-14B', {'prompt': ' '}, 'prompt is empty: say what to show.'),
    ('i2v-14B', {'size': '1024*1024'}, 'size 1024*1024 is not supported'),
    ('i2v-14B', {'frame_num': '6'}, 'frame_num is 6, allowed is 4n + 1'),
    ('i2v-14B', {'last_frame': 'wide.png'},
     'last_frame is not a setting of task i2v-14B; it is one of flf2v-14B'),
    ('flf2v-14B', {'first_frame': None},
     'first_frame is missing: the task needs a picture for first_frame and '
     'last_frame.'),
    ('flf2v-14B', {'last_frame': None},
     'last_frame is missing: the task needs a picture for first_frame and '
     'last_frame.'),
    ('flf2v-14B', {'first_frame': None, 'last_frame': None},
     'first_frame is missing'),
    ('flf2v-14B', {'last_frame': 'text.png'}, 'is not a readable image'),
    ('flf2v-14B', {'frame_num': '1'}, 'frame_num is 1: a first and a last'),
    ('flf2v-14B', {'prompt': None}, 'prompt is missing'),
    ('flf2v-14B', {'image': 'wide.png'},
     'image is not a setting of task flf2v-14B; it is one of i2v-14B.')))
def test_bad_values(shells, pictures, tmp_path, capsys, task, bad, told):
    words = flags(task, shells[task], pictures, tmp_path / 'new' / 'x.mp4')
    given = dict(zip(words[::2], words[1::2], strict=True))
    for name, value in bad.items():
        given.pop(f'--{name}', None)
        if value is not None:
            path = value and name in ('image', 'first_frame', 'last_frame')
            given[f'--{name}'] = pictures / value if path else value
    with nothing_changes(tmp_path):
        said = failure(capsys, 2, [x for pair in given.items() for x in pair])
    assert told in said


def test_an_image_is_not_written_over(shells, pictures, tmp_path, capsys):
    image = shutil.copy(pictures / 'wide.png', tmp_path / 'x.mp4')
    with nothing_changes(tmp_path):
        assert 'it is an input' in failure(capsys, 2, flags(
            'i2v-14B', shells['i2v-14B'], pictures, image, '--image', image,
            '--overwrite'))


@pytest.mark.parametrize('task, other', (
    ('i2v-14B', 'flf2v'), ('flf2v-14B', 'i2v'), ('i2v-14B', 't2v')))
def test_checkpoints_of_another_type(
        checkpoint, checkpoints, pictures, tmp_path, capsys, task,
        other):
    folder = checkpoint if other == 't2v' else checkpoints(other)
    with nothing_changes(tmp_path):
        assert failure(capsys, 2, flags(
            task, folder, pictures, tmp_path / 'x.mp4')) == (
            f'Task {task} needs a checkpoint of type {TYPES[task]}, {folder} '
            f'is of type {other}.')


def test_text_to_video_needs_another_checkpoint(
        checkpoints, tmp_path, capsys):
    assert 'needs a checkpoint of type t2v' in failure(capsys, 2, [
        '--task', 't2v-14B', '--ckpt_dir', checkpoints('i2v'),
        '--prompt', 'x', '--save_file', tmp_path / 'x.mp4'])


@pytest.mark.parametrize('damage, told', (
    (lambda path: path.unlink(), f'is incomplete: no {CLIP}.'),
    (lambda path: path.write_text('no weights'),
     'it is text, not weights'),
    (lambda path: os.truncate(path, path.stat().st_size // 2),
     'Cannot read ')))
def test_an_image_encoder_that_is_missing_or_damaged(
        checkpoints, pictures, tmp_path, capsys, damage, told):
    folder = shutil.copytree(checkpoints('i2v'), tmp_path / 'copy')
    damage(folder / CLIP)
    with nothing_changes(tmp_path):
        said = failure(capsys, 2, flags(
            'i2v-14B', folder, pictures, tmp_path / 'x.mp4'))
    assert told in said and CLIP in said


@pytest.mark.parametrize('stage', ('encode image', 'encode'))
def test_interrupted_while_an_image_is_encoded(
        checkpoints, pictures, tmp_path, capsys, monkeypatch,
        small_sizes, stage):
    interrupt(monkeypatch, stage, 'leaving')
    with nothing_changes(tmp_path):
        assert failure(capsys, 130, flags(
            'flf2v-14B', checkpoints('flf2v'), pictures,
            tmp_path / 'x.mp4', '--size', '128*128')) == (
            'interrupted; nothing was written')


def test_the_record_repeats_the_run(sample, tmp_path):
    r"""What it holds is all that the job was given."""
    path = sample('i2v-14B', name='one.mp4')
    arguments = json.loads(path.with_suffix('.json').read_text())['arguments']
    task = arguments.pop('task')
    again = jobs.prepare(TASKS, task, {
        **arguments, 'save_file': tmp_path / 'two.mp4'})
    assert torch.equal(frames(jobs.execute(again)), frames(path))
