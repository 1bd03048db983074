r"""generate.py for image to video and first-last frame to video."""
import json

import pytest
import torch
from PIL import Image

import generate
from tests.cli import (
    embedded,
    failure,
    frames,
    interrupt,
    nothing_changes,
    prepared,
    result,
    share_pipelines,
)
from tests.images import TYPES, image_flags
from wan import configs, jobs
from wan.tasks import TASKS
from wan.utils.video import probe

STAGES = ('load', 'encode text', 'encode image', 'encode', 'denoise',
          'decode', 'save')


@pytest.fixture(scope='module')
def pipelines():
    return {}


@pytest.fixture
def sample(checkpoints, pictures, tmp_path, monkeypatch, pipelines,
           small_sizes):
    r"""A small run with other flags; gives the video."""
    share_pipelines(monkeypatch, pipelines)

    def run(task, *more, name='sample.mp4'):
        path = tmp_path / name
        result(generate.main(image_flags(
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
    given = image_flags(
        task, checkpoints(TYPES[task]), pictures, path, '--size', size,
        '--frame_num', frame_num)
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
    job = prepared(*image_flags(
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
    job = prepared(*image_flags(
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
    job = prepared(*image_flags(
        'flf2v-14B', shells['flf2v-14B'], pictures, tmp_path / 'x.mp4',
        '--last_frame', last))
    assert job.work.size == (880, 432)
    assert job.work.notes[-1] == (
        f'{last} of 40x80 is resized and cropped to 880x432.')


@pytest.mark.parametrize('task', TYPES)
def test_dry_run_prints_the_plan_and_reads_no_weights(
        shells, pictures, tmp_path, capsys, task):
    with nothing_changes(tmp_path):
        assert generate.main(image_flags(
            task, shells[task], pictures, tmp_path / 'new' / 'x.mp4',
            '--dry_run')) == 0
    assert f'stages       {", ".join(STAGES)}' in capsys.readouterr().out


@pytest.mark.parametrize('stage', ('encode image', 'encode'))
def test_interrupted_while_an_image_is_encoded(
        checkpoints, pictures, tmp_path, capsys, monkeypatch,
        small_sizes, stage):
    interrupt(monkeypatch, stage, 'leaving')
    with nothing_changes(tmp_path):
        assert failure(capsys, 130, image_flags(
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
