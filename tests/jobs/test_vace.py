r"""VACE through generate.py: results, plans, refusals."""
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import generate
from tests.cli import (
    failure,
    frames,
    hollow,
    nothing_changes,
    prepared,
    result,
    share_pipelines,
)
from tests.utils.media import make_clip
from wan import jobs
from wan.utils.video import probe

SOUND = ('-f', 'lavfi', '-i', 'sine=d=2')


@pytest.fixture(scope='module')
def pipelines():
    return {}


@pytest.fixture(scope='module')
def vace_checkpoint(checkpoints):
    return checkpoints('vace')


@pytest.fixture(scope='module')
def shell_vace(vace_checkpoint, tmp_path_factory):
    r"""Its weights cannot be read."""
    return hollow(vace_checkpoint, tmp_path_factory.mktemp('vace') / 'shell')


@pytest.fixture(scope='module')
def media(tmp_path_factory):
    r"""Videos, masks and images of small sizes."""
    folder = tmp_path_factory.mktemp('vace_media')
    make_clip(folder / 'clip.mp4', '-c:a', 'aac', '-t', .565, inputs=SOUND,
              source='testsrc=s=64x48:r=16:d=0.5625')
    make_clip(folder / 'fast.mp4', source='testsrc=s=100x48:r=30:d=0.4')
    make_clip(folder / 'fast_sound.mp4', '-c:a', 'aac', '-t', 1,
              inputs=SOUND, source='testsrc=s=64x48:r=30:d=1')
    for name, seconds, colour in (
            ('mask', .5625, 'white'), ('black', .5625, 'black'),
            ('short', .25, 'white')):
        make_clip(folder / f'{name}.mp4', source=(
            f'color=black:s=64x48:r=16:d={seconds},'
            f'drawbox=w=32:color={colour}:t=fill'))
    half = np.zeros((48, 64), np.uint8)
    half[:, :32] = 255
    Image.fromarray(half).save(folder / 'half.png')
    Image.new('RGB', (40, 20), 'red').save(folder / 'red.png')
    Image.new('RGBA', (20, 40), (0, 0, 255, 128)).save(folder / 'blue.png')
    return folder


def flags(folder, save_file, *more, task='vace-1.3B'):
    return [str(flag) for flag in (
        '--task', task, '--ckpt_dir', folder, '--prompt', 'a red vase',
        '--sample_steps', 1, '--base_seed', 1, '--save_file', save_file,
        *more)]


@pytest.fixture
def sample(vace_checkpoint, tmp_path, monkeypatch, pipelines):
    r"""Run with other flags; gives the video."""
    share_pipelines(monkeypatch, pipelines)

    def run(*more, name='sample.mp4', **options):
        path = tmp_path / name
        result(generate.main(
            flags(vace_checkpoint, path, *more, **options)), path)
        return path

    return run


def work(folder, tmp_path, *more, **options):
    return prepared(
        *flags(folder, tmp_path / 'x.mp4', *more, **options)).work


# Results


@pytest.mark.parametrize('task, size', (
    ('vace-1.3B', '480*832'), ('vace-14B', '832*480')))
def test_from_references(sample, media, task, size):
    path = sample('--frame_num', 1, '--size', size, '--src_ref_images',
                  media / 'red.png', '--sample_guide_scale', 1, task=task)
    info = probe(path)
    assert f'{info.width}*{info.height}' == size
    assert frames(path).size(1) == 1 and not info.has_audio


def test_plan_and_run_have_the_same_stages(
        sample, vace_checkpoint, media, tmp_path):
    more = ('--src_video', media / 'clip.mp4', '--src_mask',
            media / 'mask.mp4', '--frame_num', 5)
    job = prepared(*flags(vace_checkpoint, tmp_path / 'x.mp4', *more))
    path = sample(*more)
    record = result(0, path)
    assert tuple(record['seconds']) == job.stages == (
        'load', 'encode text', 'encode', 'denoise', 'decode', 'save')
    arguments = record['arguments']
    assert arguments['frame_num'] == 5 and arguments['context_scale'] == 1
    assert arguments['src_video'] == str(media / 'clip.mp4')
    assert record['results']['notes'] == list(job.work.notes)
    info = probe(path)
    assert (info.width, info.height) == (64, 48) == job.work.size
    assert frames(path).shape == (3, 5, 48, 64)


def test_every_setting_changes_the_result(
        vace_checkpoint, tmp_path, media):
    pipe = None

    def made(*more):
        nonlocal pipe
        job = prepared(*flags(
            vace_checkpoint, tmp_path / 'x.mp4', '--frame_num', 1,
            '--dtype', 'float32', '--src_video', media / 'clip.mp4', *more))
        pipe = pipe or jobs.load(job)
        return jobs.run(job, pipe)

    mask, red = media / 'mask.mp4', media / 'red.png'
    videos = [made(), made('--src_mask', mask),
              made('--src_ref_images', red),
              made('--src_ref_images', red, '--src_ref_images', red),
              made('--context_scale', .2), made('--context_scale', 0)]
    assert min((a - b).abs().mean() for i, a in enumerate(videos)
               for b in videos[:i]) > 1e-3
    # One picture is a mask for all frames.
    still = made('--src_mask', media / 'half.png')
    torch.testing.assert_close(still, videos[1], rtol=0, atol=.05)
    silent = made('--context_scale', 0, '--src_mask', mask)
    torch.testing.assert_close(silent, videos[-1], rtol=0, atol=1e-5)


def test_the_sound_of_a_source_of_the_same_length(sample, media):
    path = sample('--src_video', media / 'clip.mp4')
    assert frames(path).size(1) == 9
    assert probe(path).has_audio


# Plans


def test_without_a_video_all_is_made(shell_vace, tmp_path):
    found = work(shell_vace, tmp_path, '--frame_num', 5)
    assert found.size == (832, 480) and found.frame_num == 5
    data = found.data
    assert data.frames.shape == (3, 5, 480, 832) and not data.frames.any()
    assert data.mask.shape == (1, 5, 480, 832) and (data.mask == 1).all()
    assert not data.references and data.sound is None
    assert found.lead == 0 and not found.notes


def test_defaults_are_upstreams(shell_vace, tmp_path):
    job = prepared(
        '--task', 'vace-14B', '--ckpt_dir', shell_vace, '--prompt', 'x',
        '--save_file', tmp_path / 'x.mp4')
    arguments = job.record.arguments
    assert {name: arguments[name] for name in (
        'sample_steps', 'sample_shift', 'frame_num', 'sample_guide_scale',
        'context_scale', 'size')} == {
            'sample_steps': 50, 'sample_shift': 16., 'frame_num': 81,
            'sample_guide_scale': 5., 'context_scale': 1.,
            'size': '1280*720'}
    assert job.work.size == (1280, 720)


def test_the_plan_counts_the_references(shell_vace, media, tmp_path, capsys):
    more = ('--frame_num', 5, '--src_ref_images', media / 'red.png',
            '--src_ref_images', media / 'blue.png', '--dry_run')
    with nothing_changes(tmp_path):
        assert generate.main(flags(
            shell_vace, tmp_path / 'x.mp4', *more)) == 0
    out = capsys.readouterr().out
    assert '3x5x480x832' in out
    assert '16x4x60x104, 6240 tokens' in out
    assert 'load, encode text, encode, denoise, decode, save' in out


def test_references_lie_on_white(shell_vace, media, tmp_path):
    found = work(shell_vace, tmp_path, '--frame_num', 1, '--src_ref_images',
                 f'{media / "red.png"},{media / "blue.png"}')
    red, blue = found.data.references
    assert found.lead == 2
    assert [image.size for image in found.images] == [(40, 20), (20, 40)]
    assert red.shape == blue.shape == (3, 1, 480, 832)
    assert (red[:, 0, 0, 0] == 1).all()
    assert red[:, 0, 240, 416].tolist() == [1, -1, -1]
    torch.testing.assert_close(
        blue[:, 0, 240, 416], torch.tensor([0., 0., 1.]), rtol=0, atol=.01)


@pytest.mark.parametrize('more, shape, told', (
    ((), (9, 48, 96),
     ('Of the 12 frames of src_video 9 are taken, evenly from the first to '
      'the last.', 'src_video has 30 frames a second; its frames are taken '
      'as they are stored and played at 16.', 'src_video of 100x48 is '
      'resized and cropped to 96x48, its shape in the area of size '
      '832*480.')),
    (('--frame_num', 1), (1, 48, 96),
     ('Of the 12 frames of src_video the first is taken.',)),
    (('--frame_num', 13), (9, 48, 96),
     ('src_video gives only 9 frames, not frame_num 13.',))))
def test_what_is_taken_of_a_video_is_said(
        shell_vace, media, tmp_path, more, shape, told):
    found = work(
        shell_vace, tmp_path, '--src_video', media / 'fast.mp4', *more)
    assert found.data.frames.shape == (3, *shape)
    assert (found.frame_num, *found.size[::-1]) == shape
    assert set(told) <= set(found.notes)


def test_a_video_that_is_taken_whole_has_no_notes(
        shell_vace, media, tmp_path):
    found = work(shell_vace, tmp_path, '--src_video', media / 'clip.mp4')
    assert found.notes == () and found.data.sound is not None
    assert found.data.mask.min() == 1


def test_sound_that_does_not_fit_is_left_out(shell_vace, media, tmp_path):
    found = work(shell_vace, tmp_path, '--src_video', media / 'fast_sound.mp4')
    assert found.data.sound is None
    assert ('The result lasts 1.81 s, src_video 1.00 s: its sound is left '
            'out.') in found.notes


def test_a_mask_of_nothing_is_noted(shell_vace, media, tmp_path):
    found = work(shell_vace, tmp_path, '--src_video', media / 'clip.mp4',
                 '--src_mask', media / 'black.mp4')
    assert any('black.mp4 is white nowhere' in note for note in found.notes)


# Bad input: exit 2, one sentence, no weights read, nothing written


@pytest.mark.parametrize('bad, told', (
    (('--src_mask', 'mask.mp4'), 'mask.mp4 is given without a src_video'),
    (('--src_video', 'none.mp4'), 'none.mp4'),
    (('--src_video', 'red.png', '--src_mask', 'half.png'), 'red.png'),
    (('--src_ref_images', 'none.png'), 'none.png is not an existing file'),
    (('--src_ref_images', 'clip.mp4'), 'clip.mp4 is not a readable image'),
    (('--src_video', 'clip.mp4', '--src_mask', 'short.mp4'),
     'has 4 frames, src_video 9'),
    (('--src_video', 'fast.mp4', '--src_mask', 'half.png'),
     'another shape than src_video with 100x48'),
    (('--size', '1280*720'), 'not supported by this model; allowed: 480*832'),
    (('--frame_num', 6), 'frame_num is 6, allowed is 4n + 1'),
    (('--context_scale', 'nan'), 'context_scale is nan, expected a finite'),
    (('--prompt', ' '), 'prompt is empty: say what to show'),
    (('--image', 'x.png'), 'image'),
    (('--ref_c', 1), 'ref_c is not a setting of task vace-1.3B')))
def test_bad_values(shell_vace, media, tmp_path, capsys, bad, told):
    names = {path.name for path in media.iterdir()}
    bad = [media / flag if flag in names else flag for flag in bad]
    with nothing_changes(tmp_path), nothing_changes(media):
        said = failure(
            capsys, 2, flags(shell_vace, tmp_path / 'x.mp4', *bad))
    assert told in said


def test_a_prompt_is_needed(shell_vace, media, tmp_path, capsys):
    given = [flag for flag in flags(shell_vace, tmp_path / 'x.mp4')
             if flag not in ('--prompt', 'a red vase')]
    assert failure(capsys, 2, given) == 'prompt is missing: say what to show.'
    with pytest.raises(SystemExit):
        generate.main(['--task', 'vace-14B', '--help'])
    assert 'vace-14B' not in generate.EXAMPLE_PROMPT


def test_other_checkpoints_are_refused(shell, tmp_path, capsys):
    said = failure(capsys, 2, flags(shell, tmp_path / 'x.mp4'))
    assert 'Task vace-1.3B needs a checkpoint of type vace' in said


def test_no_input_is_written_to(shell_vace, media, tmp_path, capsys):
    clip = tmp_path / 'clip.mp4'
    shutil.copy(media / 'clip.mp4', clip)
    with nothing_changes(tmp_path):
        said = failure(
            capsys, 2, flags(shell_vace, clip, '--src_video', clip))
    assert 'it is an input; choose another save_file' in said
