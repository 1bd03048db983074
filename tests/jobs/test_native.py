r"""generate.py --task pvtt: the template itself, its product replaced."""
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import generate
from tests.cli import failure, prepared, result, share_pipelines
from tests.clips import filmed_clip, packets
from tests.edits import AUDIO, SOURCE, TARGET
from tests.utils.media import make_clip
from wan import jobs
from wan.footage import Footage
from wan.utils.video import read_video

SIZE, COUNT = (192, 112), 7


@pytest.fixture(scope='module', autouse=True)
def _shared_pipelines():
    with pytest.MonkeyPatch.context() as patch:
        share_pipelines(patch, {})
        yield


@pytest.fixture(scope='module')
def wide(tmp_path_factory):
    r"""A wide template with sound, and a mask of a small product in it."""
    folder = tmp_path_factory.mktemp('wide')
    make_clip(folder / 'wide.mp4', '-c:a', 'aac', '-shortest', inputs=AUDIO,
              source=f'testsrc=s=192x112:r=24:d={COUNT / 24:.4f}')
    mask = Image.new('L', SIZE)
    mask.paste(255, (120, 40, 150, 80))
    mask.save(folder / 'mask.png')
    photo = Image.new('RGBA', (40, 40))
    photo.paste((250, 10, 10, 255), (8, 8, 32, 32))
    photo.save(folder / 'photo.png')
    return folder


def flags(ckpt, wide, path, *more):
    return [str(flag) for flag in (
        '--task', 'pvtt', '--ckpt_dir', ckpt, '--src_video',
        wide / 'wide.mp4', '--target_image', wide / 'photo.png',
        '--src_mask', wide / 'mask.png', '--source_prompt', SOURCE,
        '--target_prompt', TARGET, '--sample_steps', 2, '--base_seed', 1,
        '--save_file', path, *more)]


@pytest.fixture(scope='module')
def edited(checkpoint, wide, tmp_path_factory):
    r"""A native edit with nothing but defaults."""
    path = tmp_path_factory.mktemp('native') / 'edit.mp4'
    return SimpleNamespace(path=path, **result(
        generate.main(flags(checkpoint, wide, path)), path))


def test_the_template_comes_back(edited, wide):
    before, after = Footage.open(wide / 'wide.mp4'), Footage.open(edited.path)
    assert after.size == SIZE and len(after.times) == len(before.times) > 5
    assert after.times == pytest.approx(before.times, abs=1e-3)
    assert after.info.has_audio
    assert sorted(p.name for p in edited.path.parent.iterdir()) == [
        'edit.json', 'edit.mp4', 'edit_comparison.mp4', 'edit_mask.mov',
        'edit_sheet.png']


def test_only_the_product_has_changed(edited, wide):
    a, b = (read_video(path) for path in (wide / 'wide.mp4', edited.path))
    apart = (a - b).abs().amax(0)
    left, top = edited.results['view']['corners'][0]
    width, height = edited.results['view']['box']
    outside = torch.ones(apart.shape[1:], dtype=torch.bool)
    outside[top:top + height, left:left + width] = False
    assert apart[:, outside].mean() < 0.02
    assert apart[:, 50:70, 125:145].mean() > 0.1
    changed = edited.results['changed']
    assert changed['psnr_outside'] > 45
    assert 0 < changed['share'] < width * height / (192 * 112)
    assert changed['largest_outside'] < 64
    assert changed['ssim_outside'] > .99


def test_record_and_stages(edited):
    assert tuple(edited.seconds) == (
        'load', 'read the template', 'encode text', 'encode',
        'capture the reference', 'edit', 'decode', 'write', 'measure', 'save')
    view = edited.results['view']
    assert view['box'][0] == view['box'][1] < 112
    assert view['frames'] == [0, len(Footage.open(edited.path).times) - 1]
    assert edited.arguments['output'] == 'native'
    assert edited.results['notes'] == []


def test_the_mask_can_be_given_back(edited, checkpoint, wide, tmp_path):
    mask = read_video(edited.path.with_name('edit_mask.mov'))
    assert mask.shape[2:] == (112, 192)
    assert set(mask.unique().tolist()) == {-1., 1.}
    again = tmp_path / 'again.mp4'
    record = result(generate.main(flags(
        checkpoint, wide, again, '--src_mask',
        edited.path.with_name('edit_mask.mov'))), again)
    assert record['results']['view'] == edited.results['view']
    a, b = (read_video(path) for path in (again, edited.path))
    assert (a - b).abs().mean() < 1e-3


def test_a_part_in_time(checkpoint, wide, tmp_path):
    path = tmp_path / 'part.mp4'
    record = result(generate.main(flags(
        checkpoint, wide, path, '--start', '0.1', '--end', '0.2', '--codec',
        'lossless')), path)
    a, b = (read_video(p) for p in (wide / 'wide.mp4', path))
    apart = (a - b).abs().amax((0, 2, 3))
    assert record['results']['view']['frames'] == [3, 4]
    assert (apart > .1).tolist() == [i in (3, 4) for i in range(a.size(1))]
    assert (apart[[0, 1, 2, 5]] == 0).all()


def test_fewer_frames_a_second(checkpoint, wide, tmp_path):
    path = tmp_path / 'slow.mp4'
    result(generate.main(flags(
        checkpoint, wide, path, '--fps', '12')), path)
    whole, fewer = (Footage.open(p) for p in (wide / 'wide.mp4', path))
    assert len(fewer.times) == -(-len(whole.times) // 2)
    assert fewer.times == pytest.approx(whole.times[::2], abs=2e-3)


def test_without_a_mask_the_product_is_looked_for(checkpoint, wide, tmp_path):
    path = tmp_path / 'found.mp4'
    args = flags(checkpoint, wide, path, '--save_comparison', 'false')
    at = args.index('--src_mask')
    record = result(generate.main(args[:at] + args[at + 2:]), path)
    assert 'find the product' in record['seconds']
    assert (path.with_name('found_mask.mov').exists()
            == record['results']['mask_on'])


@pytest.mark.parametrize('crop, box', (
    ('full', [112, 112]), ('100,20,60,80', [80, 80])))
def test_a_window_that_is_given(checkpoint, wide, tmp_path, crop, box):
    path = tmp_path / 'crop.mp4'
    record = result(generate.main(flags(
        checkpoint, wide, path, '--crop', crop, '--save_comparison', 'false',
        '--measure', 'false')), path)
    assert record['results']['view']['box'] == box


def test_preview_shows_and_stops(shell, wide, tmp_path, capsys):
    r"""With a mask no weights are read: the checkpoint has none."""
    path = tmp_path / 'edit.mp4'
    assert generate.main(flags(shell, wide, path, '--preview')) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        'edit_preview.json', 'edit_preview.png', 'edit_preview_mask.mov']
    with Image.open(tmp_path / 'edit_preview.png') as picture:
        assert picture.width > 5 * 240
    mask = read_video(tmp_path / 'edit_preview_mask.mov')
    assert mask.size(1) == len(Footage.open(wide / 'wide.mp4').times)


def test_long_templates_are_edited_in_windows(checkpoint, wide, tmp_path):
    clip = make_clip(tmp_path / 'long.mp4',
                     source='testsrc=s=192x112:r=24:d=1')
    job = prepared(*flags(checkpoint, wide, tmp_path / 'x.mp4',
                          '--src_video', clip, '--crop', '110,20,60,60'))
    assert job.work.frame_num == 25
    limit = job.work.windows.window_frames
    assert limit is None or limit < 25
    assert 'windows' in jobs.plan(job) or limit is None


@pytest.mark.parametrize('more, said', (
    (('--start', '9'), 'seconds'),
    (('--end', '0'), 'start 0 and end 0.0 are seconds of the template'),
    (('--fps', 'fast'), 'fps is fast, allowed are native and numbers'),
    (('--crop', '1,2,3'), "crop is '1,2,3', allowed are auto, full and"),
    (('--crop', '180,0,50,50'), 'crop 180,0,50,50 is not inside'),
    (('--codec', 'prores'), 'prores'),
    (('--codec', 'lossless', '--crf', '5'), 'crf'),
    (('--crf', '70'), 'crf'),
    (('--reverse', 'x.mp4'), 'needs output model'),
))
def test_bad_input_is_told_before_weights(
        shell, wide, tmp_path, capsys, more, said):
    path = tmp_path / 'edit.mp4'
    assert said in failure(capsys, 2, flags(shell, wide, path, *more))
    assert not list(tmp_path.iterdir())


def test_settings_of_the_other_output_are_told(shell, wide, tmp_path):
    notes = prepared(*flags(
        shell, wide, tmp_path / 'x.mp4', '--output', 'model', '--crop',
        'full', '--codec', 'x265', '--frame_num', 5)).work.notes
    assert any(note.startswith('crop, codec have no effect: output model')
               for note in notes)
    notes = prepared(*flags(
        shell, wide, tmp_path / 'x.mp4', '--composite', 'true')).work.notes
    assert any(note.startswith('composite has no effect: output native')
               for note in notes)


# A clip as a phone films it


def test_a_filmed_clip_comes_back_as_it_was(checkpoint, wide, tmp_path):
    r"""Noise, 29.97 frames a second, stereo sound, a tag of rotation."""
    clip, path = tmp_path / 'phone.mp4', tmp_path / 'edit.mp4'
    filmed_clip(clip, (160, 96), frames=12, rotation=90)
    record = result(generate.main(flags(
        checkpoint, wide, path, '--src_video', clip, '--src_mask',
        bottle_mask(tmp_path / 'bottle.png', Footage.open(clip).size))), path)
    before, after = Footage.open(clip), Footage.open(path)
    assert after.size == before.size and before.size[0] < before.size[1]
    assert after.times == pytest.approx(before.times, abs=1e-3)
    assert after.info.rotation == before.info.rotation
    assert packets(path, 'audio') == packets(clip, 'audio')
    for name in ('matrix', 'range', 'primaries', 'transfer', 'width'):
        assert after.info.stream[name] == before.info.stream[name], name
    assert record['results']['changed']['psnr_outside'] > 45
    a, b = (read_video(p) for p in (clip, path))
    apart = (a - b).abs().amax((0, 1))
    middle = apart[40:120, 40:56].mean()
    assert middle > 5 * apart[:, :12].mean()


def bottle_mask(path, size):
    mask = Image.new('L', size)
    mask.paste(255, tuple(round(x) for x in (
        size[0] * .36, size[1] * .28, size[0] * .64, size[1] * .82)))
    mask.save(path)
    return path


def test_the_plan_tells_what_is_edited(shell, wide, tmp_path):
    count = len(Footage.open(wide / 'wide.mp4').times)
    plan = jobs.plan(prepared(*flags(
        shell, wide, tmp_path / 'x.mp4', '--codec', 'x265', '--crf', 9)))
    for row in (f'template     192x112, {count} frames at 24 a second, ',
                f'edited       {count} frames, 0 to {count - 1} (0.00 to ',
                'mask         given', 'window       ',
                'written as   x265, crf 9'):
        assert row in plan
