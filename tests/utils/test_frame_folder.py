r"""Folders of numbered pictures are videos; masks from any file."""
import numpy as np
import pytest
import torch
from PIL import Image

from tests.utils.media import ffmpeg, make_clip
from wan.utils.image import open_image
from wan.utils.mask_file import is_still, read_mask, shown_size
from wan.utils.video import MAX_FRAMES, probe, read_video


def folder_of(path, count=10, size=(48, 32), name='{:03d}.png', start=1):
    r"""Pictures whose grey is their number times ten."""
    path.mkdir()
    for i in range(count):
        Image.new('RGB', size, (10 * i,) * 3).save(
            path / name.format(start + i))
    return path


def greys(video):
    return ((video.mean((0, 2, 3)) + 1) * 12.75).round().int().tolist()


@pytest.mark.parametrize('name,start', [
    ('{:03d}.png', 1), ('{}.png', 0), ('frame_{:05d}.bmp', 98),
    ('{}.PNG', 7)])
def test_folder_is_a_video(tmp_path, name, start):
    folder = folder_of(tmp_path / 'a', 12, name=name, start=start)
    (folder / '.hidden').touch()
    info = probe(folder)
    assert (info.width, info.height, info.fps, info.frames) == (48, 32, 16, 12)
    assert not info.has_audio and info.rotation == 0
    assert '12 pictures' in info.notes[0] and len(info.notes) == 1
    assert greys(read_video(folder)) == list(range(12))
    assert greys(read_video(folder, fps=16, max_frames=5)) == list(range(5))


@pytest.mark.parametrize('fps', [8, 10, 16, 24, 24.5, 60])
def test_folder_is_resampled_as_a_video(tmp_path, fps):
    folder = folder_of(tmp_path / 'a')
    path = tmp_path / 'a.nut'
    ffmpeg('-framerate', 16, '-i', folder / '%03d.png', '-c:v', 'ffv1',
           '-pix_fmt', 'gbrp', path)
    assert greys(read_video(folder, fps=fps)) == greys(
        read_video(path, fps=fps))


@pytest.mark.parametrize('fit', ['crop', 'pad'])
def test_folder_is_fitted_as_a_video(tmp_path, fit):
    folder, path = tmp_path / 'a', tmp_path / 'a.mkv'
    folder.mkdir()
    ffmpeg('-f', 'lavfi', '-i', 'testsrc=s=96x64:r=16', '-frames:v', 2,
           folder / '%d.png')
    ffmpeg('-framerate', 16, '-i', folder / '%d.png', '-c:v', 'ffv1',
           '-pix_fmt', 'gbrp', path)
    error = read_video(folder, (40, 40), fit=fit) - read_video(
        path, (40, 40), fit=fit)
    assert error.abs().mean() < 0.02


def test_order_is_by_number(tmp_path):
    folder = folder_of(tmp_path / 'a', 12, name='{}.png')
    assert greys(read_video(folder)) == list(range(12))


def test_alpha_of_a_folder(tmp_path):
    folder = tmp_path / 'a'
    folder.mkdir()
    for i in range(2):
        Image.new('RGBA', (16, 16), (0, 255, 0, 0)).save(folder / f'{i}.png')
    assert probe(folder).has_alpha
    assert (read_video(folder) == 1).all()
    assert (read_video(folder, ground='black') == -1).all()


def spoil(folder, how):
    if how == 'gap':
        (folder / '004.png').unlink()
    elif how == 'twice':
        (folder / '4.png').touch()
    elif how == 'names':
        (folder / 'cover_3.png').touch()
    elif how == 'size':
        Image.new('RGB', (32, 48)).save(folder / '003.png')
    elif how == 'broken':
        (folder / '003.png').write_bytes(b'wrong')
    elif how == 'none':
        for path in folder.iterdir():
            path.rename(path.with_suffix('.txt'))


@pytest.mark.parametrize('how,words', [
    ('gap', 'between 003.png and 005.png'), ('twice', 'has one twice'),
    ('names', 'several names'), ('size', '003.png has 32x48 pixels'),
    ('broken', '003.png is not a readable image'),
    ('none', 'nor a folder of numbered pictures')])
def test_bad_folders(tmp_path, how, words):
    folder = folder_of(tmp_path / 'a')
    spoil(folder, how)
    with pytest.raises(ValueError, match=words):
        read_video(folder, (16, 16), 16)


def test_other_files_are_noted(tmp_path):
    folder = folder_of(tmp_path / 'a', 2)
    (folder / 'notes.txt').touch()
    assert '1 other files' in probe(folder).notes[1]


def test_many_pictures(tmp_path):
    folder = tmp_path / 'a'
    folder.mkdir()
    Image.new('RGB', (8, 8)).save(folder / '0.png')
    for i in range(1, MAX_FRAMES + 2):
        (folder / f'{i}.png').hardlink_to(folder / '0.png')
    with pytest.raises(ValueError, match='about 2002 frames, at most 2000'):
        read_video(folder)
    assert read_video(folder, max_frames=3).shape == (3, 3, 8, 8)


@pytest.fixture
def masks(tmp_path):
    r"""One mask, its left quarter white, as files of several kinds."""
    plain = Image.new('L', (64, 32))
    plain.paste(255, (0, 0, 16, 32))
    alpha = Image.new('RGBA', (64, 32), (255, 255, 255, 0))
    alpha.putalpha(plain)
    plain.save(tmp_path / 'plain.png')
    alpha.save(tmp_path / 'alpha.png')
    for kind, image in (('plain', plain), ('alpha', alpha)):
        (tmp_path / kind).mkdir()
        for i in range(4):
            image.save(tmp_path / kind / f'{i}.png')
    ffmpeg('-framerate', 16, '-i', tmp_path / 'plain' / '%d.png', '-c:v',
           'libx264', '-crf', 4, '-pix_fmt', 'yuv420p', tmp_path / 'plain.mp4')
    ffmpeg('-framerate', 16, '-i', tmp_path / 'alpha' / '%d.png', '-c:v',
           'prores_ks', '-pix_fmt', 'yuva444p10le', tmp_path / 'alpha.mov')
    ffmpeg('-framerate', 16, '-i', tmp_path / 'alpha' / '%d.png', '-c:v',
           'libvpx-vp9', '-pix_fmt', 'yuva420p', tmp_path / 'alpha.webm')
    return tmp_path


@pytest.mark.parametrize('name', [
    'plain.png', 'alpha.png', 'plain', 'alpha', 'plain.mp4', 'alpha.mov',
    'alpha.webm'])
@pytest.mark.parametrize('fit', ['crop', 'pad'])
def test_masks_of_any_kind(masks, name, fit):
    path = masks / name
    assert shown_size(path) == (64, 32) and is_still(path) == (
        path.suffix == '.png')
    mask = read_mask(path, (64, 32), 16, 5, fit)
    assert mask.shape == (1 if path.suffix == '.png' else 4, 32, 64)
    assert mask.min() >= 0 and mask.max() <= 1
    assert (mask[..., :14] > 0.95).all() and (mask[..., 18:] < 0.05).all()


def test_shown_size_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('L', (40, 20)).save(tmp_path / 'a.jpg', exif=exif)
    assert shown_size(tmp_path / 'a.jpg') == (20, 40)
    clip = make_clip(tmp_path / 'a.mp4')
    ffmpeg('-display_rotation', 90, '-i', clip, '-c', 'copy',
           tmp_path / 'b.mp4')
    assert shown_size(tmp_path / 'b.mp4') == (48, 64)


def test_first_of_several_pictures_is_noted(tmp_path):
    frames = [Image.new('RGB', (4, 4), c) for c in ('red', 'blue')]
    for name in ('a.png', 'a.webp', 'a.tiff'):
        frames[0].save(tmp_path / name, save_all=True,
                       append_images=frames[1:])
        image, notes = open_image(tmp_path / name)
        assert np.asarray(image)[0, 0, 0] > 200
        assert 'Of its 2 pictures' in notes[0]


def test_frames_are_floats_of_their_own(tmp_path):
    video = read_video(folder_of(tmp_path / 'a', 3))
    assert video.dtype == torch.float32 and video.is_contiguous()
