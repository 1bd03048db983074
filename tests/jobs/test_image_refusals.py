r"""Image tasks: bad input is one sentence and exit code 2, before weights are
read, and nothing is written."""
import os
import shutil

import pytest

from tests.cli import failure, nothing_changes
from tests.images import TYPES, image_flags
from wan.configs import WAN_CONFIGS

CLIP = WAN_CONFIGS['i2v-14B'].clip_checkpoint


@pytest.mark.parametrize('task, bad, told', (
    ('i2v-14B', {'image': ''}, 'image is missing: the picture to go on from'),
    ('i2v-14B', {'image': None}, 'image is missing: the picture to go on from'),
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
     'first_frame is missing: first_frame and last_frame are both needed'),
    ('flf2v-14B', {'last_frame': None},
     'last_frame is missing: first_frame and last_frame are both needed'),
    ('flf2v-14B', {'first_frame': None, 'last_frame': None},
     'first_frame is missing'),
    ('flf2v-14B', {'last_frame': 'text.png'}, 'is not a readable image'),
    ('flf2v-14B', {'frame_num': '1'}, 'frame_num is 1: a first and a last'),
    ('flf2v-14B', {'prompt': None}, 'prompt is missing'),
    ('flf2v-14B', {'image': 'wide.png'},
     'image is not a setting of task flf2v-14B; it is one of i2v-14B.')))
def test_bad_values(shells, pictures, tmp_path, capsys, task, bad, told):
    words = image_flags(
        task, shells[task], pictures, tmp_path / 'new' / 'x.mp4')
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
        assert 'it is an input' in failure(capsys, 2, image_flags(
            'i2v-14B', shells['i2v-14B'], pictures, image, '--image', image,
            '--overwrite'))


@pytest.mark.parametrize('task, other', (
    ('i2v-14B', 'flf2v'), ('flf2v-14B', 'i2v'), ('i2v-14B', 't2v')))
def test_checkpoints_of_another_type(
        checkpoint, checkpoints, pictures, tmp_path, capsys, task,
        other):
    folder = checkpoint if other == 't2v' else checkpoints(other)
    with nothing_changes(tmp_path):
        assert failure(capsys, 2, image_flags(
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
        said = failure(capsys, 2, image_flags(
            'i2v-14B', folder, pictures, tmp_path / 'x.mp4'))
    assert told in said and CLIP in said
