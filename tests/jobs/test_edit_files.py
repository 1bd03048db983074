r"""The files an edit is given: templates, photos and masks of every kind."""
import json

import pytest
import torch
from PIL import Image

import generate
from tests.cli import (
    frames,
    hollow,
    prepared,
    result,
    share_pipelines,
)
from tests.edits import (
    AUDIO,
    PLAIN,
    SOURCE,
    TARGET,
    draw,
    edit_flags,
)
from tests.utils.media import ffmpeg, make_clip
from wan import jobs
from wan.configs import WAN_CONFIGS
from wan.edit_config import EditConfig
from wan.product import photo as product_photo
from wan.refdrop.config import RefConfig
from wan.utils.video import probe


@pytest.fixture(scope='module', autouse=True)
def _shared_pipelines():
    with pytest.MonkeyPatch.context() as patch:
        share_pipelines(patch, {})
        yield


@pytest.fixture
def read(shell, media):
    r"""The work a command line makes, without the model."""

    def run(*more):
        return prepared(*edit_flags(shell, media, media / 'x.mp4', *more)).work

    return run


# Templates


def turned(path):
    upright = make_clip(path.with_name('upright.mp4'),
                        source='testsrc=s=96x64:r=16:d=0.1')
    ffmpeg('-display_rotation', '90', '-i', upright, '-c', 'copy', path)


def variable_rate(path):
    make_clip(path, '-fps_mode', 'vfr',
              source='testsrc=s=64x64:r=32:d=1,select=not(mod(n\\,3))')


def very_long(path):
    loop = make_clip(path.with_name('loop.mp4'),
                     source='testsrc=s=32x32:r=25:d=4')
    ffmpeg('-stream_loop', 99, '-i', loop, '-c', 'copy', path)
    assert probe(path).frames == 10000


def odd(path):
    make_clip(path, '-pix_fmt', 'yuv444p',
              source='testsrc=s=131x97:r=16:d=0.1')


def one_frame(path):
    make_clip(path, '-frames:v', 1, source='testsrc=s=64x64:r=16')


def unknown_audio(path):
    make_clip(path, '-c:a', 'libopus', '-f', 'matroska', inputs=AUDIO)
    path.write_bytes(path.read_bytes().replace(b'A_OPUS', b'A_SUPO'))


@pytest.mark.parametrize('make', (
    turned, variable_rate, very_long, odd, one_frame, unknown_audio))
def test_templates_of_every_kind(checkpoint, media, tmp_path, make):
    template, path = tmp_path / 'template.mp4', tmp_path / 'edit.mp4'
    make(template)
    record = result(generate.main(edit_flags(
        checkpoint, media, path, '--src_video', template, *PLAIN)), path)
    assert frames(path).shape == (3, 1, 128, 128)
    assert not probe(path).has_audio
    found = record['results']
    assert not found['mask_on'] and not found['reference_on']
    assert (make is unknown_audio) == any(
        'audio cannot be decoded' in x for x in found['notes'])
    assert sorted(p.name for p in tmp_path.glob('edit*')) == [
        'edit.json', 'edit.mp4']


def test_rotation_is_applied(read, tmp_path):
    upright, turned_clip = tmp_path / 'upright.mp4', tmp_path / 'turned.mp4'
    turned(turned_clip)
    clips = [read('--src_video', path, '--fit', 'pad').data.clip
             for path in (upright, turned_clip)]
    assert (clips[0][:, :, 0] == -1).all()  # bars above a wide clip
    assert (clips[1][:, :, :, 0] == -1).all()  # beside a tall one
    back, wrong = (
        (clips[1].rot90(turns, (2, 3)) - clips[0]).abs().mean()
        for turns in (-1, 1))
    assert back < wrong / 4


def given(shell, media, *more):
    r"""The work of the settings, as a caller in Python gives them."""
    return jobs.prepare(generate.TASKS, 'pvtt', {
        'ckpt_dir': shell, 'src_video': media / 'clip.mp4',
        'output': 'model',
        'use_reference': False, 'source_prompt': SOURCE,
        'target_prompt': TARGET, 'save_file': media / 'x.mp4',
        **dict(more)}).work


@pytest.mark.parametrize('seconds, wanted, used, said', (
    (1.1, None, 17, 'Only the first 17 frames'),
    (1.1, 5, 5, 'Only the first 5 frames'),
    (1.1, 1, 1, 'Only the first frame of'),
    (0.6, None, 9, 'Only the first 9 frames'),
    (0.6, 81, 9, 'The template has only 10 frames at 16 a second; 9 are '
     'edited, not 81.'),
    (0.3125, 5, 5, None), (8, 81, 81, 'Only the first 81 frames')))
def test_how_many_frames_are_used(
        shell, media, tmp_path, seconds, wanted, used, said):
    path = make_clip(tmp_path / 'clip.mp4',
                     source=f'color=s=128x128:r=16:d={seconds}')
    work = given(shell, media, ('src_video', path), ('frame_num', wanted))
    assert work.data.clip.shape == (3, used, 128, 128)
    assert work.frame_num == used
    notes = [note for note in work.notes if 'colours' not in note]
    assert len(notes) == bool(said)
    assert not said or notes[0].startswith(said)


def test_a_model_that_knows_no_length_takes_the_templates(
        shell, media, tmp_path, monkeypatch):
    monkeypatch.delitem(WAN_CONFIGS['t2v-tiny'], 'defaults')
    path = make_clip(tmp_path / 'clip.mp4',
                     source='color=s=128x128:r=16:d=6')
    work = given(shell, media, ('src_video', path))
    assert work.data.clip.shape == (3, 81, 128, 128)


def test_the_nearest_size_is_taken_unless_one_is_given(
        checkpoint, read, tmp_path):
    shell = hollow(checkpoint, tmp_path / 'other')
    config = json.loads((shell / 'config.json').read_text())
    (shell / 'config.json').write_text(json.dumps(
        config | {'wan_config': 't2v-1.3B'}))
    tall = make_clip(tmp_path / 'tall.mp4', source='testsrc=s=64x112:d=0.1')
    flags = ('--ckpt_dir', shell, '--src_video', tall, '--src_mask', '')
    assert read(*flags).size == (480, 832)
    assert read(*flags, '--size', '832*480').size == (832, 480)


# Photos


def test_photos_of_every_form_in_one_edit(
        checkpoint, media, tmp_path, monkeypatch):
    # What the segmentation finds is tested elsewhere, and takes a second.
    monkeypatch.setattr(product_photo, 'segment', lambda image: None)
    exif = Image.Exif()
    exif[0x0112] = 6
    sixteen = Image.new('I;16', (40, 30), 40000)
    forms = {
        'rgb.png': (draw(), {}),
        'cut.png': (draw('RGBA', ground=(0, 0, 0, 0)), {}),
        'exif.jpg': (draw(), {'exif': exif}),
        'grey.png': (draw('L', ground=255, colour=30), {}),
        'sixteen.png': (sixteen, {}),
        'palette.png': (draw().convert('P'), {'transparency': 0}),
        'huge.png': (Image.new('L', (9000, 9000), 99), {'compress_level': 1}),
    }
    for name, (image, options) in forms.items():
        image.save(tmp_path / name, **options)
    path = tmp_path / 'edit.mp4'
    made = result(generate.main(edit_flags(
        checkpoint, media, path, '--target_image',
        ','.join(str(tmp_path / name) for name in forms), '--ref_c',
        '0.2,0.1,-0.1,0.1,0.05,0.1,0', '--save_comparison', 'true')), path)
    assert made['results']['reference_on']
    assert len(made['results']['reference']['ref_c']) == len(forms)
    untold = [note for note in made['results']['notes']
              if 'could not be told from the ground' in note]
    assert [note.partition(':')[0] for note in untold] == [
        str(tmp_path / name) for name in forms if name != 'cut.png']
    with Image.open(tmp_path / 'edit_sheet.png') as sheet:
        assert sheet.height > 9 * 100


def test_photos_are_upright_and_not_larger_than_needed(read, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    draw().save(tmp_path / 'turned.jpg', exif=exif)
    Image.new('L', (9000, 3000), 99).save(tmp_path / 'huge.png')
    products = read(
        '--ref_c', '0.1,0.1', '--target_image',
        f'{tmp_path / "turned.jpg"},{tmp_path / "huge.png"}').data.products
    assert products[0].photo.size == (48, 64)
    assert products[1].photo.size == (1280, 427)


def test_views_of_one_product_share_a_weight(read, media):
    photos = f'{media / "cut.png"},{media / "cut.png"}'
    for flags, weights in (
            (('--ref_c', '.2'), (.1, .1)),
            (('--ref_c', '.2,.3'), (.2, .3)),
            (('--ref_preset', 'best'), (.15, .15))):
        work = read('--target_image', photos, '--view_angles', '0,90', *flags)
        assert work.settings[RefConfig].ref_c == weights
        assert work.settings[EditConfig].view_angles == (0., 90.)


def test_a_photos_mask_says_what_its_transparency_would(read, media):
    cut, masked = (
        read('--target_image', media / photo, *more).data.products[0].alpha
        for photo, more in (('cut.png', ()), (
            'plain.png', ('--target_mask', media / 'mask.png'))))
    assert torch.equal(cut, masked)


# Masks


def test_src_mask_as_image_and_as_video(read, media, tmp_path):
    ffmpeg('-loop', 1, '-i', media / 'box.png', '-frames:v', 5, '-r', 16,
           '-pix_fmt', 'yuv420p', tmp_path / 'box.mp4')
    still, moving = (
        read('--frame_num', 5, '--src_mask', path).data.mask
        for path in (media / 'box.png', tmp_path / 'box.mp4'))
    assert (still.shape, moving.shape) == ((1, 128, 128), (5, 128, 128))
    for mask in (still, moving):
        assert mask[:, 48:80, 48:80].min() > 0.9
        assert mask[:, :16].max() < 0.1
    assert (still - moving).abs().mean() < 0.01


def test_words_find_the_mask(checkpoint, media, tmp_path):
    path = tmp_path / 'edit.mp4'
    made = result(generate.main(edit_flags(
        checkpoint, media, path, '--src_mask', '', '--source_blend', 'Vase',
        '--target_blend', 'gold watch', '--use_reference', 'false')), path)
    assert made['results']['mask_on']
    assert 'find the product' in made['seconds']
    assert frames(tmp_path / 'edit_mask.mp4').shape == (3, 1, 128, 128)


def test_a_photo_is_told_from_its_ground_once(read, tmp_path, monkeypatch):
    seen, path = [], tmp_path / 'photo.png'
    monkeypatch.setattr(product_photo, 'segment', seen.append)
    draw().save(path)
    for _ in range(2):
        read('--target_image', path)
    assert len(seen) == 1
    draw(colour='blue', size=(64, 50)).save(path)
    assert read('--target_image', path).data.products[0].photo.height == 50
    assert len(seen) == 2
