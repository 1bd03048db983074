r"""generate.py --task pvtt on real files, good and broken."""
import json
import struct
import wave
import zlib
from types import SimpleNamespace

import pytest
import torch
from PIL import Image, ImageDraw

import generate
from tests.cli import (
    distance,
    embedded,
    failure,
    frames,
    hollow,
    interrupt,
    nothing_changes,
    result,
    share_pipelines,
    small_disk,
)
from tests.utils.media import ffmpeg, make_clip
from wan.configs import WAN_CONFIGS
from wan.product import photo as refdrop_photo
from wan.refdrop.config import RefConfig
from wan.utils.video import probe

STAGES = ('load', 'encode text', 'encode', 'find the product',
          'capture the reference', 'edit', 'decode', 'measure', 'save')
SOURCE, TARGET = 'a red vase on a table', 'a gold watch on a table'
AUDIO = ('-f', 'lavfi', '-i', 'sine=d=2')
# The quickest edit: neither photo nor mask nor comparison.
PLAIN = ('--use_reference', 'false', '--use_mask', 'false',
         '--save_comparison', 'false')


def draw(mode='RGB', size=(64, 48), ground='white', colour='red'):
    image = Image.new(mode, size, ground)
    ImageDraw.Draw(image).ellipse((16, 12, 48, 36), fill=colour)
    return image


@pytest.fixture(scope='module')
def media(tmp_path_factory):
    r"""A template, photos and masks, by name."""
    folder = tmp_path_factory.mktemp('media')
    make_clip(folder / 'clip.mp4', '-c:a', 'aac', inputs=AUDIO,
              source='testsrc=s=128x128:r=16:d=0.5')
    draw().save(folder / 'plain.png')
    draw('RGBA', ground=(0, 0, 0, 0)).save(folder / 'cut.png')
    draw('L', ground=0, colour=255).save(folder / 'mask.png')
    box = Image.new('L', (128, 128))
    box.paste(255, (32, 32, 96, 96))
    box.save(folder / 'box.png')
    return folder


@pytest.fixture(scope='module')
def shell(checkpoint, tmp_path_factory):
    r"""A checkpoint whose weights cannot be read."""
    return hollow(checkpoint, tmp_path_factory.mktemp('hollow') / 'it')


def flags(ckpt_dir, media, save_file, *more):
    r"""A small edit of one frame inside a box; later flags override."""
    return [str(flag) for flag in (
        '--task', 'pvtt', '--ckpt_dir', ckpt_dir, '--frame_num', 1,
        '--src_video', media / 'clip.mp4', '--target_image',
        media / 'cut.png', '--source_prompt', SOURCE, '--target_prompt',
        TARGET, '--src_mask', media / 'box.png', '--sample_steps', 3,
        '--base_seed', 1, '--save_comparison', 'false', '--save_file',
        save_file, *more)]


@pytest.fixture(scope='module')
def pipelines():
    return {}


@pytest.fixture
def edit(checkpoint, media, tmp_path, monkeypatch, pipelines):
    r"""Run with other flags; gives path and record."""
    share_pipelines(monkeypatch, pipelines)

    def run(*more, name='edit.mp4'):
        path = tmp_path / name
        code = generate.main(flags(checkpoint, media, path, *more))
        return SimpleNamespace(path=path, **result(code, path))

    return run


@pytest.fixture(scope='module')
def base(checkpoint, media, tmp_path_factory):
    r"""The edit all others are compared with."""
    path = tmp_path_factory.mktemp('base') / 'base.mp4'
    assert generate.main(flags(checkpoint, media, path)) == 0
    return path


@pytest.fixture(scope='module')
def whole(checkpoint, media, tmp_path_factory):
    r"""An edit with nothing but defaults, of a template with audio."""
    path = tmp_path_factory.mktemp('whole') / 'whole.mp4'
    code = generate.main([str(flag) for flag in (
        '--task', 'pvtt', '--ckpt_dir', checkpoint, '--src_video',
        media / 'clip.mp4', '--target_image', media / 'plain.png',
        '--source_prompt', SOURCE, '--target_prompt', TARGET, '--base_seed',
        7, '--sample_steps', 3, '--save_file', path)])
    return SimpleNamespace(path=path, **result(code, path))


def inputs(shell, media, *more):
    r"""What the command line makes of its files, without the model."""
    return generate.tasks.prepare(generate.parse_args(
        flags(shell, media, media / 'x.mp4', *more))).inputs


# What an edit gives


def test_all_results_of_an_edit(whole):
    folder = whole.path.parent
    assert sorted(p.name for p in folder.iterdir()) == [
        'whole.json', 'whole.mp4', 'whole_comparison.mp4', 'whole_mask.mp4',
        'whole_sheet.png']
    info = probe(whole.path)
    assert (info.width, info.height, info.fps) == (128, 128, 16)
    assert frames(whole.path).shape == (3, 5, 128, 128)
    assert frames(folder / 'whole_mask.mp4').shape == (3, 5, 128, 128)
    assert frames(folder / 'whole_comparison.mp4').shape == (
        3, 5, 128, 3 * 128 + 2 * 8)
    with Image.open(folder / 'whole_sheet.png') as sheet:
        assert sheet.width > 5 * 240


def test_the_audio_is_kept_and_cut(whole):
    info = probe(whole.path)
    assert info.has_audio
    assert info.duration == pytest.approx(5 / 16, abs=0.1)


def test_record_of_an_edit(whole):
    assert set(whole.seconds) == set(STAGES)
    assert whole.seed == 7
    found = whole.results
    assert found['mask_on'] and found['reference_on']
    assert found['edit']['edit_method'] == 'flowalign'
    assert found['edit']['sample_steps'] == 3
    assert found['reference']['ref_c'] == [0.3]
    assert found['notes'] == [
        'The template has only 8 frames at 16 a second; 5 are edited, not '
        '17.']
    for name in ('background_psnr', 'background_ssim', 'motion_difference',
                 'background_psnr_round_trip'):
        assert isinstance(found['metrics'][name], float)
    inside = embedded(whole.path)
    assert inside['results'] == whole.results
    assert inside['arguments'] == whole.arguments


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
def test_templates_of_every_kind(edit, tmp_path, make):
    template = tmp_path / 'template.mp4'
    make(template)
    made = edit('--src_video', template, *PLAIN)
    assert frames(made.path).shape == (3, 1, 128, 128)
    assert not probe(made.path).has_audio
    assert not made.results['mask_on'] and not made.results['reference_on']
    assert (make is unknown_audio) == any(
        'audio cannot be decoded' in x for x in made.results['notes'])
    assert sorted(p.name for p in tmp_path.glob('edit*')) == [
        'edit.json', 'edit.mp4']


def test_rotation_is_applied(shell, media, tmp_path):
    upright, turned_clip = tmp_path / 'upright.mp4', tmp_path / 'turned.mp4'
    turned(turned_clip)
    clips = [inputs(shell, media, '--src_video', path, '--fit', 'pad').clip
             for path in (upright, turned_clip)]
    assert (clips[0][:, :, 0] == -1).all()  # bars above a wide clip
    assert (clips[1][:, :, :, 0] == -1).all()  # beside a tall one
    back, wrong = (
        (clips[1].rot90(turns, (2, 3)) - clips[0]).abs().mean()
        for turns in (-1, 1))
    assert back < wrong / 4


@pytest.mark.parametrize('seconds, wanted, used, said', (
    (1.1, None, 17, 'Only the first 17 frames'),
    (1.1, 5, 5, 'Only the first 5 frames'),
    (0.6, 81, 9, 'The template has only 10 frames at 16 a second; 9 are '
     'edited, not 81.'),
    (0.3125, 5, 5, None), (8, 81, 81, 'Only the first 81 frames')))
def test_how_many_frames_are_used(
        shell, media, tmp_path, seconds, wanted, used, said):
    path = make_clip(tmp_path / 'clip.mp4',
                     source=f'color=s=128x128:r=16:d={seconds}')
    count = ('--frame_num', wanted) if wanted else ()
    given = [flag for flag in flags(
        shell, media, tmp_path / 'x.mp4', '--src_video', path)]
    at = given.index('--frame_num')
    del given[at:at + 2]
    read = generate.tasks.prepare(
        generate.parse_args([*given, *map(str, count)])).inputs
    assert read.clip.shape == (3, used, 128, 128)
    assert [note[:len(said)] for note in read.notes] == ([said] if said else [])


def test_a_model_that_knows_no_length_takes_the_templates(
        shell, media, tmp_path, monkeypatch):
    monkeypatch.delitem(WAN_CONFIGS['t2v-tiny'], 'defaults')
    path = make_clip(tmp_path / 'clip.mp4',
                     source='color=s=128x128:r=16:d=6')
    args = generate.parse_args(flags(
        shell, media, tmp_path / 'x.mp4', '--src_video', path))
    args.frame_num = None
    read = generate.tasks.prepare(args).inputs
    assert read.clip.shape == (3, 81, 128, 128)


def test_the_nearest_size_is_taken_unless_one_is_given(
        checkpoint, media, tmp_path):
    shell = hollow(checkpoint, tmp_path / 'other')
    config = json.loads((shell / 'config.json').read_text())
    config |= {'dim': 1536, 'num_heads': 12, 'num_layers': 1}
    (shell / 'config.json').write_text(json.dumps(config))
    tall = make_clip(tmp_path / 'tall.mp4', source='testsrc=s=64x112:d=0.1')
    assert inputs(shell, media, '--src_video', tall).size == (480, 832)
    assert inputs(
        shell, media, '--src_video', tall, '--size', '832*480'
    ).size == (832, 480)


# Photos


def test_photos_of_every_form_in_one_edit(edit, tmp_path, monkeypatch):
    # What the segmentation finds is tested elsewhere, and takes a second.
    monkeypatch.setattr(refdrop_photo, 'segment', lambda image: None)
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
    made = edit(
        '--target_image', ','.join(str(tmp_path / name) for name in forms),
        '--ref_c', '0.2,0.1,-0.1,0.1,0.05,0.1,0', '--save_comparison', 'true')
    assert made.results['reference_on']
    assert len(made.results['reference']['ref_c']) == len(forms)
    with Image.open(tmp_path / 'edit_sheet.png') as sheet:
        assert sheet.height > 9 * 100


def test_photos_are_upright_and_not_larger_than_needed(
        shell, media, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    draw().save(tmp_path / 'turned.jpg', exif=exif)
    Image.new('L', (9000, 3000), 99).save(tmp_path / 'huge.png')
    products = inputs(
        shell, media, '--ref_c', '0.1,0.1', '--target_image',
        f'{tmp_path / "turned.jpg"},{tmp_path / "huge.png"}').products
    assert products[0].photo.size == (48, 64)
    assert products[1].photo.size == (1280, 427)


def test_target_mask(edit, base, media):
    made = edit('--target_image', media / 'plain.png',
                '--target_mask', media / 'mask.png')
    # On white ground, photo and mask say what the cut-out photo says alone.
    assert torch.equal(frames(made.path), frames(base))


# Masks


def mask_of(path):
    return frames(path.with_name(f'{path.stem}_mask.mp4'))


def test_src_mask_as_image_and_as_video(edit, media, tmp_path):
    ffmpeg('-loop', 1, '-i', media / 'box.png', '-frames:v', 5, '-r', 16,
           '-pix_fmt', 'yuv420p', tmp_path / 'box.mp4')
    still, moving = (
        edit('--frame_num', 5, '--src_mask', path, *PLAIN, '--use_mask',
             'true', name=f'{path.suffix[1:]}.mp4').path
        for path in (media / 'box.png', tmp_path / 'box.mp4'))
    for path in (still, moving):
        mask = mask_of(path)
        assert mask[:, :, 48:80, 48:80].min() > 0.9
        assert mask[:, :, :16].max() < -0.9
    assert distance(still, moving) < 0.01


def test_words_find_the_mask(edit):
    made = edit('--src_mask', '', '--source_blend', 'Vase', '--target_blend',
                'gold watch', '--use_reference', 'false')
    assert made.results['mask_on']
    assert 'find the product' in made.seconds
    assert mask_of(made.path).shape == (3, 1, 128, 128)


def test_edit_everywhere(edit, base, tmp_path):
    made = edit('--use_mask', 'false')
    assert not made.results['mask_on']
    assert not (tmp_path / 'edit_mask.mp4').exists()
    assert distance(made.path, base) > 0


# Settings


@pytest.mark.parametrize('name, value', (
    ('edit_method', 'flowedit'), ('edit_method', 'sdedit'),
    ('strength', 1.0), ('sample_guide_scale', 3.0), ('sample_shift', 2.0),
    ('bg_zeta_scale', 0.01), ('composite', True), ('mask_grow', 1),
    ('ref_branches', 'target'),
    ('ref_branches', 'split'), ('ref_branches', 'all'), ('ref_rope', 'none'),
    ('ref_rope', 'offset'), ('ref_rope', 'box'), ('ref_t', '0.6'),
    ('ref_t', '0.3,0.6'), ('ref_t', 'match'), ('ref_stats', 'norm'),
    ('ref_stats', 'full'), ('ref_layers', 'deep'), ('ref_layers', '1,2-3'),
    ('ref_steps', '0-0.5'), ('ref_key_mask', False),
    ('ref_query_mask', False), ('ref_collage', 0.1)))
def test_every_setting_is_recorded_and_matters(edit, base, name, value):
    made = edit(f'--{name}', value)
    settings = made.results['edit'] | made.results['reference']
    assert settings[name] == value
    assert distance(made.path, base) > 0


def test_noised_reference(edit):
    clean = edit('--ref_t', '0.6', name='clean.mp4')
    noised = edit('--ref_t', '0.6', '--ref_noised', 'true', name='noised.mp4')
    assert distance(clean.path, noised.path) > 0


@pytest.mark.parametrize('more', (
    ('--ref_rope', 'spatial'), ('--ref_preset', 'default'),
    ('--ref_layers', '0-3'), ('--attention', 'auto')))
def test_what_must_not_matter_to_one_frame(edit, base, more):
    assert torch.equal(frames(edit(*more).path), frames(base))


def test_branches_in_one_batch(edit):
    single, batch = (
        edit('--batch_branches', value, '--dtype', 'float32',
             name=f'{value}.mp4').path for value in ('false', 'true'))
    assert distance(single, batch) < 0.01


@pytest.mark.parametrize('preset', ('best', 'strong', 'gentle'))
def test_presets_with_flags_overriding(edit, preset):
    settings = edit('--ref_preset', preset, '--ref_stats', 'norm'
                    ).results['reference']
    assert settings['ref_stats'] == 'norm'
    assert settings['ref_c'] == list(RefConfig.from_preset(preset).ref_c)


@pytest.mark.parametrize('more, on', (
    ((), True), (('--ref_collage', '0'), False), (('--src_mask', ''), False),
    (('--use_mask', 'false'), False), (('--edit_method', 'sdedit'), False),
    (('--use_reference', 'false'), False)))
def test_the_record_tells_whether_the_collage_was_used(edit, more, on):
    assert edit(*more).results['collage_on'] == on


@pytest.mark.parametrize('more, on', (
    (('--use_reference', 'false'), False), (('--ref_c', '0'), False),
    (('--ref_layers', ''), False), (('--ref_steps', '0-0'), False)))
def test_without_reference(edit, base, more, on):
    made = edit(*more)
    assert made.results['reference_on'] == on
    assert distance(made.path, base) > 0


def test_reverse(edit, base):
    made = edit('--reverse', base)
    assert distance(made.path, base) > 0
    assert any('erases the way back' in x for x in made.results['notes'])


def test_bank_is_filled_once(edit, media, tmp_path, monkeypatch, capsys,
                             checkpoint):
    bank = tmp_path / 'product.safetensors'
    first = edit('--ref_bank', bank, name='first.mp4')
    before = bank.read_bytes()

    def again(*args):
        raise AssertionError('captured again')

    monkeypatch.setattr('wan.refdrop.filler.capture', again)
    second = edit('--ref_bank', bank, name='second.mp4')
    assert torch.equal(frames(first.path), frames(second.path))
    assert bank.read_bytes() == before
    said = failure(capsys, 2, flags(
        checkpoint, media, tmp_path / 'third.mp4', '--ref_bank', bank,
        '--target_prompt', 'a silver bag'))
    assert 'was made from another photo, prompt, model or settings' in said
    assert not (tmp_path / 'third.mp4').exists()


def test_experiment_file_with_flags_overriding(
        checkpoint, media, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = media / 'experiment.yaml'
    file.write_text(f"""
video:
  video_path: clip.mp4
  source_prompt: {SOURCE}
  target_prompt: {TARGET}
  target_image: [cut.png, plain.png]
  target_mask: [mask.png, mask.png]
  frame_num: 1
flowalign:
  strength: 0.9
  num_inference_steps: 4
  target_guidance_scale: 13.5
  flag_attnmask: false
  ref_c: [0.2, -0.1]
""")
    path = tmp_path / 'edit.mp4'
    made = result(generate.main([
        '--config', str(file), '--ckpt_dir', str(checkpoint), '--strength',
        '0.5', '--save_comparison', 'no', '--save_file', str(path)]), path)
    assert made['arguments']['task'] == 'pvtt'
    settings = made['results']['edit']
    assert (settings['strength'], settings['sample_steps'],
            settings['sample_guide_scale']) == (0.5, 4, 13.5)
    assert made['results']['reference']['ref_c'] == [0.2, -0.1]
    assert made['results']['mask_on'] is False


def test_dry_run(shell, media, tmp_path, capsys):
    with nothing_changes(tmp_path):
        assert generate.main(flags(
            shell, media, tmp_path / 'x.mp4', '--frame_num', 5,
            '--ref_branches', 'split', '--ref_bank', tmp_path / 'bank',
            '--dry_run')) == 0
    out = capsys.readouterr().out
    assert '2 steps x 4 evaluations' in out
    assert '16x2x16x16, 128 tokens' in out


# Bad input: exit 2, one sentence, no weights read, nothing written


def png(width, height):
    r"""A PNG that declares a size and ends."""

    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack(
            '>I', zlib.crc32(kind + data))

    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack(
        '>IIBBBBB', width, height, 8, 2, 0, 0, 0)) + chunk(
        b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b'')


@pytest.fixture(scope='module')
def broken(media):
    r"""Files that are not what they seem."""
    folder = media / 'broken'
    folder.mkdir()
    whole = (media / 'clip.mp4').read_bytes()
    (folder / 'cut.mp4').write_bytes(whole[:len(whole) // 2])
    (folder / 'empty.mp4').write_bytes(b'')
    (folder / 'text.mp4').write_text('no video at all\n' * 50)
    ffmpeg('-f', 'lavfi', '-i', 'sine=d=1', folder / 'sound.mp3')
    (folder / 'sound.mp4').write_bytes((folder / 'sound.mp3').read_bytes())
    image = (media / 'cut.png').read_bytes()
    (folder / 'header.png').write_bytes(b'\x89PNJ' + image[4:])
    (folder / 'cut.png').write_bytes(image[:len(image) // 2])
    (folder / 'empty.png').write_bytes(b'')
    (folder / 'bomb.png').write_bytes(png(60000, 60000))
    draw('L', (32, 32), 0, 255).save(folder / 'small.png')
    draw('L', (64, 48), 0, 0).save(folder / 'black.png')
    Image.new('RGBA', (64, 48)).save(folder / 'clear.png')
    dot = Image.new('L', (128, 128))
    dot.putpixel((60, 60), 255)
    dot.save(folder / 'dot.png')
    (folder / 'bank').write_text('no bank')
    with wave.open(str(folder / 'sound.wav'), 'wb') as sound:
        sound.setparams((1, 2, 8000, 0, 'NONE', ''))
        sound.writeframes(bytes(8000))
    return folder


@pytest.mark.parametrize('flag, name, told', (
    ('src_video', 'cut.mp4', 'is not a readable video'),
    ('src_video', 'empty.mp4', 'is empty (0 bytes), a video is needed'),
    ('src_video', 'text.mp4', 'is not a readable video'),
    ('src_video', 'sound.mp3', 'holds no video (it is mp3)'),
    ('src_video', 'sound.mp4', 'holds no video (it is mp3)'),
    ('src_video', 'sound.wav', 'holds no video (it is wav)'),
    ('src_video', 'missing.mp4', 'is not an existing file'),
    ('src_video', '', 'is not an existing file'),
    ('target_image', 'header.png', 'is not a readable image'),
    ('target_image', 'cut.png', 'is not a readable image'),
    ('target_image', 'empty.png', 'is empty (0 bytes), an image is needed'),
    ('target_image', 'bomb.png', 'pixels, the most that is allowed'),
    ('target_image', 'text.mp4', 'is not a readable image'),
    ('target_image', 'missing.png', 'is not an existing file'),
    ('target_mask', 'small.png', 'must have its size, 64x48, not 32x32'),
    ('target_mask', 'black.png', 'is black everywhere'),
    ('target_mask', 'missing.png', 'is not an existing file'),
    ('target_image', 'clear.png', 'is transparent everywhere'),
    ('src_mask', 'cut.mp4', 'is not a readable video'),
    ('src_mask', 'black.png', 'marks nothing'),
    ('src_mask', 'dot.png', 'larger than a few pixels'),
    ('src_mask', 'missing.png', 'is not an existing file'),
    ('reverse', 'empty.mp4', 'is empty'),
    ('ref_bank', 'bank', 'is no readable bank'),
    ('ref_bank', 'text.mp4/bank', 'is not a folder that may be written to'),
    ('config', 'missing.yaml', 'Cannot read'),
    ('config', 'text.mp4', 'must have the sections video, flowalign'),
    ('config', 'bomb.png', 'Cannot read')))
def test_broken_files(shell, media, broken, tmp_path, capsys, flag, name, told):
    given = flags(
        shell, media, tmp_path / 'x.mp4', f'--{flag}', broken / name)
    with nothing_changes(tmp_path):
        said = failure(capsys, 2, given)
    assert told in said
    if told[:2] == 'is' and flag.endswith(('video', 'image')):
        assert said.startswith(str(broken / name))


@pytest.mark.parametrize('bad, told', (
    (('--ref_c', '1.5'), 'each must be in [-1, 1]'),
    (('--ref_c', 'nan'), 'each must be in [-1, 1]'),
    (('--ref_c', ''), "--ref_c is ''"),
    (('--ref_c', '0.1,0.2'), '--ref_c has 2 values for 1 photos'),
    (('--target_image', 'A,A'), '2 photos need --ref_c with 2 values'),
    (('--target_image', 'A,A', '--ref_c', '0.7,0.7'), 'their sum at most 1'),
    (('--target_mask', 'A,A'), '--target_mask names 2 masks for 1 photos'),
    (('--ref_preset', 'weak'), "invalid choice: 'weak'"),
    (('--ref_layers', '70-80'), 'names no block of this model: it has 0 to 3'),
    (('--ref_layers', 'upper'), "ref_layers is 'upper'"),
    (('--ref_steps', '0.8-0.2'), 'ref_steps'),
    (('--ref_branches', 'most'), 'allowed: target, both, split, all'),
    (('--ref_rope', 'grille'), 'allowed: grid, spatial, none, offset, box'),
    (('--ref_t', '2'), 'ref_t'), (('--ref_t', 'soon'), 'ref_t'),
    (('--ref_rope', 'box', '--use_mask', 'false'), '--ref_rope box needs'),
    (('--ref_collage', '2'), 'ref_collage is 2.0, allowed is 0 to 1'),
    (('--ref_collage', '.1', '--use_mask', 'false'), 'pastes a photo into'),
    (('--ref_collage', '.1', '--src_mask', ''), '--src_mask missing'),
    (('--ref_stats', 'some'), 'allowed: none, norm, full'),
    (('--ref_bank', 'x', '--ref_t', 'match'), '--ref_bank cannot keep'),
    (('--edit_method', 'magic'), 'allowed: flowalign, flowedit, sdedit'),
    (('--edit_method', 'sdedit', '--reverse', 'A'), 'cannot be reversed'),
    (('--strength', '0'), 'strength is 0.0, allowed is above 0 to 1'),
    (('--strength', 'much'), "--strength is 'much', expected"),
    (('--src_guide_scale', 'nan'), 'src_guide_scale'),
    (('--ref_guide_scale', 'inf'), 'ref_guide_scale'),
    (('--bg_zeta_scale', '2'), 'bg_zeta_scale is 2.0, allowed is 0 to 1'),
    (('--mask_grow', '-1'), 'mask_grow is -1, allowed is 0 to 16'),
    (('--composite', 'perhaps'), "--composite is 'perhaps', expected"),
    (('--frame_num', '6'), 'it must be 4n + 1'),
    (('--size', '832*480'), 'not supported by this model; allowed: 128*128'),
    (('--fit', 'stretch'), "invalid choice: 'stretch'"),
    (('--source_prompt', ' '), '--source_prompt is missing'),
    (('--target_prompt', ''), '--target_prompt is missing'),
    (('--src_video', ''), '--src_video is missing'),
    (('--target_image', ''), '--target_image is missing'),
    (('--source_blend', 'bottle'), f"--source_blend: 'bottle' is not in the "
     f"prompt '{SOURCE}'"),
    (('--target_blend', 'wat'), f"--target_blend: 'wat' is not in the prompt "
     f"'{TARGET}'"),
    (('--sample_shift', '-1'), '--sample_shift -1.0'),
))
def test_bad_values(shell, media, tmp_path, capsys, bad, told):
    photo = str(media / 'cut.png')
    bad = [value.replace('A', photo) for value in bad]
    with nothing_changes(tmp_path):
        assert told in failure(
            capsys, 2, flags(shell, media, tmp_path / 'x.mp4', *bad))


@pytest.mark.parametrize('flag, told', (
    ('src_mask', '--src_mask'), ('reverse', '--reverse')))
def test_clips_of_another_length(shell, media, tmp_path, capsys, flag, told):
    short = make_clip(tmp_path / 'short.mp4', '-frames:v', 5,
                      source='testsrc=s=64x64:r=16')
    long = make_clip(tmp_path / 'long.mp4', '-frames:v', 9,
                     source='testsrc=s=64x64:r=16')
    said = failure(capsys, 2, flags(
        shell, media, tmp_path / 'x.mp4', '--frame_num', 9, '--src_video',
        long, f'--{flag}', short))
    assert said == f'{told} {short} has 5 frames, the template 9.'


@pytest.mark.parametrize('content, told', (
    ('video:\n  video_pth: x\n', "'video_pth'; did you mean 'video_path'?"),
    ('flowalign:\n  ref_rop: 1\n', "'ref_rop'; did you mean 'ref_rope'?"),
    ('videos:\n  size: x\n', "'videos'; did you mean 'video'?"),
    ('video: [1', 'Cannot read'), ('video:\n', 'must have the sections'),
    ('flowalign:\n  strength: high\n', "--strength is 'high'"),
    ('flowalign:\n  num_inference_steps: few\n', "invalid int value: 'few'"),
    ('video:\n  1: x\n', 'unknown key 1')))
def test_bad_experiment_files(shell, media, tmp_path, capsys, content, told):
    file = tmp_path / 'x.yaml'
    file.write_text(content)
    assert told in failure(
        capsys, 2, flags(shell, media, tmp_path / 'x.mp4', '--config', file))


def test_no_result_replaces_an_input(shell, media, tmp_path, capsys):
    template = tmp_path / 'x.mp4'
    template.write_bytes((media / 'clip.mp4').read_bytes())
    with nothing_changes(tmp_path):
        said = failure(capsys, 2, flags(
            shell, media, template, '--src_video', template))
    assert 'it is an input' in said


# Faults and interruptions


@pytest.fixture
def target(tmp_path):
    r"""A result of an earlier run."""
    folder = tmp_path / 'out'
    folder.mkdir()
    for name in ('x.json', 'x.mp4', 'x_mask.mp4'):
        (folder / name).write_text(f'old {name}')
    return folder / 'x.mp4'


@pytest.mark.parametrize('when', ('entering', 'leaving'))
@pytest.mark.parametrize('stage', STAGES)
def test_interrupted_at_every_stage(
        checkpoint, media, target, capsys, monkeypatch, stage, when):
    interrupt(monkeypatch, stage, when)
    with nothing_changes(target.parent):
        said = failure(capsys, 130, flags(
            checkpoint, media, target, '--src_mask', ''))
    assert said == 'interrupted; nothing was written'


@pytest.mark.parametrize('size', (2000, 15000))
def test_disk_full_while_writing(checkpoint, media, target, capsys, size):
    # The larger limit takes the video but not what belongs to it.
    with nothing_changes(target.parent), small_disk(size):
        said = failure(capsys, 1, flags(
            checkpoint, media, target, '--save_comparison', 'true'))
    assert 'OSError' in said


def test_a_rerun_leaves_no_file_of_the_edit_before(edit, tmp_path):
    edit('--save_comparison', 'true', name='again.mp4')
    before = {p.name for p in tmp_path.glob('again*')}
    assert {'again_mask.mp4', 'again_sheet.png'} <= before
    edit('--save_comparison', 'false', '--use_mask', 'false', '--src_mask',
         '', name='again.mp4')
    assert {p.name for p in tmp_path.glob('again*')} == {
        'again.mp4', 'again.json'}


@pytest.mark.parametrize('method, scale', [
    ('flowalign', 19.5), ('flowedit', 13.5), ('sdedit', 5.)])
def test_each_method_has_its_guidance(
        shell, media, monkeypatch, method, scale):
    # The embedded model has its own for flowalign.
    own = WAN_CONFIGS['t2v-tiny'].defaults['pvtt']
    assert own['sample_guide_scale'] == 7.5
    monkeypatch.delitem(own, 'sample_guide_scale')
    args = generate.parse_args(flags(
        shell, media, media / 'x.mp4', '--edit_method', method))
    args.sample_guide_scale = None
    job = generate.tasks.prepare(args)
    assert job.inputs.edit.sample_guide_scale == scale


@pytest.mark.parametrize('use', ('true', 'false'))
def test_a_mask_that_is_not_used_is_said(shell, media, use):
    read = inputs(shell, media, '--source_blend', SOURCE.split()[1],
                  '--use_mask', use)
    assert any('not used' in note for note in read.notes) == (use == 'false')
