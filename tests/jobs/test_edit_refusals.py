r"""What an edit refuses: exit 2, one sentence, no weights read, no file."""
import struct
import wave
import zlib

import pytest
from PIL import Image

from tests.cli import failure, hollow, nothing_changes
from tests.edits import SOURCE, TARGET, draw, edit_flags
from tests.utils.media import ffmpeg, make_clip


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
    Image.new('L', (128, 128)).save(folder / 'unmarked.png')
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
    ('src_video', '', 'is not an existing file, nor a folder of numbered'),
    ('target_image', 'header.png', 'is not a readable image'),
    ('target_image', 'cut.png', 'is not a readable image'),
    ('target_image', 'empty.png', 'is empty (0 bytes), an image is needed'),
    ('target_image', 'bomb.png', 'pixels, the most that is allowed'),
    ('target_image', 'text.mp4', 'is not a readable image'),
    ('target_image', 'missing.png', 'is not an existing file'),
    ('target_mask', 'small.png', '64x48, not 32x32'),
    ('target_mask', 'black.png', 'is black everywhere'),
    ('target_mask', 'missing.png', 'is not an existing file'),
    ('target_image', 'clear.png', 'is transparent everywhere'),
    ('src_mask', 'cut.mp4', 'is not a readable video'),
    ('src_mask', 'black.png', 'another shape than the template'),
    ('src_mask', 'unmarked.png', 'marks nothing'),
    ('src_mask', 'dot.png', 'larger than a few pixels'),
    ('src_mask', 'missing.png', 'is not an existing file'),
    ('reverse', 'empty.mp4', 'is empty'),
    ('ref_bank', 'bank', 'is not a readable bank'),
    ('ref_bank', 'text.mp4/bank', 'is not a folder that may be written to'),
    ('config', 'missing.yaml', 'Cannot read'),
    ('config', 'text.mp4', 'must have the sections video, flowalign'),
    ('config', 'bomb.png', 'Cannot read')))
def test_broken_files(shell, media, broken, tmp_path, capsys, flag, name, told):
    given = edit_flags(
        shell, media, tmp_path / 'x.mp4', f'--{flag}', broken / name)
    with nothing_changes(tmp_path):
        said = failure(capsys, 2, given)
    assert told in said
    if told[:2] == 'is' and flag.endswith(('video', 'image')):
        assert said.startswith(str(broken / name))


@pytest.mark.parametrize('bad, told', (
    (('--ref_c', '1.5'), 'each must be in [-1, 1]'),
    (('--ref_c', 'nan'), 'each must be in [-1, 1]'),
    (('--ref_c', ''), "ref_c is ''"),
    (('--ref_c', '0.1,0.2'), 'need as many values of ref_c, got 2'),
    (('--target_image', 'A,A'), 'need as many values of ref_c, got 1'),
    (('--target_image', 'A,A', '--ref_c', '0.7,0.7'), 'their sum at most 1'),
    (('--target_mask', 'A,A'), 'target_mask names 2 masks for 1 photos'),
    (('--ref_preset', 'weak'), "invalid choice: 'weak'"),
    (('--ref_layers', '70-80'), 'names no block of this model: it has 0 to 3'),
    (('--ref_layers', 'upper'), "ref_layers is 'upper'"),
    (('--ref_steps', '0.8-0.2'), 'ref_steps'),
    (('--ref_branches', 'most'), "invalid choice: 'most'"),
    (('--ref_rope', 'grille'), "invalid choice: 'grille'"),
    (('--ref_t', '2'), 'ref_t'), (('--ref_t', 'soon'), 'ref_t'),
    (('--ref_rope', 'box', '--use_mask', 'false'), 'ref_rope box needs'),
    (('--ref_rope', 'none', '--ref_gate', 'joint'), 'ref_rope none changes'),
    (('--ref_preset', 'phantom', '--ref_stats', 'norm'), 'ref_gate joint'),
    (('--ref_preset', 'phantom', '--ref_bank', 'x'), 'ref_bank cannot keep'),
    (('--collage_zeta_scale', '2'), 'is 2.0, allowed is 0 to 1'),
    (('--collage_zeta_scale', '.1', '--use_mask', 'no'), 'pastes a photo'),
    (('--view_angles', '0,90'), 'view_angles names 2 angles for 1 photos'),
    (('--view_angles', '0,500'), 'allowed is -360 to 360 degrees'),
    (('--view_frame', '9999'), 'view_frame is 9999, but'),
    (('--view_frame', '-1'), 'view_frame is -1, allowed is 0 or more'),
    (('--ref_stats', 'some'), "invalid choice: 'some'"),
    (('--ref_bank', 'x', '--ref_t', 'match'), 'ref_bank cannot keep'),
    (('--edit_method', 'magic'), "invalid choice: 'magic'"),
    (('--edit_method', 'sdedit', '--reverse', 'A'), 'cannot be reversed'),
    (('--strength', '0'), 'strength is 0.0, allowed is above 0 to 1'),
    (('--strength', 'much'), "invalid float value: 'much'"),
    (('--src_guide_scale', 'nan'), 'src_guide_scale'),
    (('--ref_guide_scale', 'inf'), 'ref_guide_scale'),
    (('--bg_zeta_scale', '2'), 'bg_zeta_scale is 2.0, allowed is 0 to 1'),
    (('--mask_grow', '-1'), 'mask_grow is -1, allowed is 0 to 16'),
    (('--composite', 'perhaps'), "not 'perhaps'"),
    (('--frame_num', '6'), 'frame_num is 6, allowed is 4n + 1'),
    (('--size', '832*480'), 'not supported by this model; allowed: 128*128'),
    (('--fit', 'stretch'), "invalid choice: 'stretch'"),
    (('--source_prompt', ' '), 'source_prompt is missing'),
    (('--target_prompt', ''), 'target_prompt is missing'),
    (('--src_video', ''), 'src_video is missing'),
    (('--target_image', ''), 'target_image is missing'),
    (('--source_blend', 'bottle'), f"source_blend: 'bottle' is not in the "
     f"prompt '{SOURCE}'"),
    (('--target_blend', 'wat'), f"target_blend: 'wat' is not in the prompt "
     f"'{TARGET}'"),
    (('--sample_shift', '-1'), 'The shift is -1.0'),
))
def test_bad_values(shell, media, tmp_path, capsys, bad, told):
    photo = str(media / 'cut.png')
    bad = [value.replace('A', photo) for value in bad]
    with nothing_changes(tmp_path):
        assert told in failure(
            capsys, 2, edit_flags(shell, media, tmp_path / 'x.mp4', *bad))


@pytest.mark.parametrize('name', ('src_mask', 'reverse'))
def test_clips_of_another_length(shell, media, tmp_path, capsys, name):
    short = make_clip(tmp_path / 'short.mp4', '-frames:v', 5,
                      source='testsrc=s=64x64:r=16')
    long = make_clip(tmp_path / 'long.mp4', '-frames:v', 9,
                     source='testsrc=s=64x64:r=16')
    said = failure(capsys, 2, edit_flags(
        shell, media, tmp_path / 'x.mp4', '--frame_num', 9, '--src_video',
        long, f'--{name}', short))
    assert said == f'{name} {short} has 5 frames, the template 9.'


def test_a_mask_of_a_longer_video(shell, media, tmp_path, capsys):
    long = make_clip(tmp_path / 'long.mp4',
                     source='color=white:s=128x128:r=16:d=4')
    said = failure(capsys, 2, edit_flags(
        shell, media, tmp_path / 'x.mp4', '--src_mask', long))
    assert f'src_mask {long} is 4.00 s long, the template 2.0' in said


@pytest.mark.parametrize('content, told', (
    ('video:\n  video_pth: x\n', "'video_pth'; did you mean 'video_path'?"),
    ('flowalign:\n  ref_rop: 1\n', "'ref_rop'; did you mean 'ref_rope'?"),
    ('videos:\n  size: x\n', "'videos'; did you mean 'video'?"),
    ('video: [1', 'Cannot read'), ('video:\n', 'must have the sections'),
    ('flowalign:\n  strength: high\n', "strength is 'high', expected"),
    ('flowalign:\n  mask_grow: few\n', "'few', expected a whole number"),
    ('flowalign:\n  mask_grow: 1.5\n', 'mask_grow is 1.5, expected a whole'),
    ('video:\n  1: x\n', 'unknown key 1')))
def test_bad_experiment_files(shell, media, tmp_path, capsys, content, told):
    file = tmp_path / 'x.yaml'
    file.write_text(content)
    assert told in failure(
        capsys, 2, edit_flags(
            shell, media, tmp_path / 'x.mp4', '--config', file))


@pytest.mark.parametrize('name', ('x.mp4', 'a,b.mp4', ' x.mp4'))
def test_no_result_replaces_an_input(shell, media, tmp_path, capsys, name):
    template = tmp_path / name
    template.write_bytes((media / 'clip.mp4').read_bytes())
    (tmp_path / 'link.mp4').symlink_to(template)
    for save_file in (template, tmp_path / 'link.mp4'):
        with nothing_changes(tmp_path):
            said = failure(capsys, 2, edit_flags(
                shell, media, save_file, '--src_video', template))
        assert 'it is an input' in said


@pytest.mark.parametrize('save_file, flags', (
    ('x.mp4', ('--config', 'x.json')), ('config.mp4', ()),
    ('new.mp4', ('--ref_bank', 'new.mp4')),
    ('photo.mp4', ('--target_image', 'photo_sheet.png'))))
def test_no_file_beside_a_result_replaces_an_input(
        checkpoint, media, tmp_path, capsys, monkeypatch, save_file, flags):
    folder = hollow(checkpoint, tmp_path / 'it')
    monkeypatch.chdir(folder)
    (folder / 'x.json').write_text('{"video": {}}')
    draw().save(folder / 'photo_sheet.png')
    with nothing_changes(folder):
        assert 'it is an input' in failure(
            capsys, 2, edit_flags(folder, media, save_file, *flags))
