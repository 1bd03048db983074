r"""read_image: orientation, modes, limits, broken and hostile files."""
import os
import struct
import zlib

import numpy as np
import PIL
import pytest
import torch
from PIL import Image

from wan.utils.image import (
    IMAGE_FORMATS,
    IMAGE_SUFFIXES,
    make_grid,
    read_image,
    read_mask_image,
    unit_range,
)

# gradio asks for it; both are mended in 13.
PILLOW_12 = int(PIL.__version__.split('.')[0]) < 13


def gradient(mode='RGB', size=(6, 4)):
    r"""Red grows to the right, green downwards."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, size[0])
    pixels[..., 1] = np.linspace(0, 255, size[1])[:, None]
    return Image.fromarray(pixels).convert(mode)


def png_header(width, height):
    r"""A PNG that declares a size and has hardly any data."""
    body = b'IHDR' + struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + body
            + struct.pack('>I', zlib.crc32(body)) + b'\0\0\0\x09IDAT'
            + zlib.compress(b'')[:8] + bytes(9))


@pytest.mark.parametrize('suffix', ['png', 'bmp', 'tiff', 'webp', 'jpg'])
def test_formats(tmp_path, suffix):
    path = tmp_path / f'a.{suffix}'
    gradient().save(path, quality=100, lossless=True)
    image = read_image(path)
    assert image.mode == 'RGB' and image.size == (6, 4)
    error = np.asarray(image).astype(int) - np.asarray(gradient())
    assert np.abs(error).max() <= (60 if suffix == 'jpg' else 0)


@pytest.mark.parametrize('tag,turn', [
    (3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_270),
    (8, Image.Transpose.ROTATE_90), (2, Image.Transpose.FLIP_LEFT_RIGHT)])
def test_exif_rotation(tmp_path, tag, turn):
    exif = Image.Exif()
    exif[0x0112] = tag
    gradient().save(tmp_path / 'a.png', exif=exif)
    got = read_image(str(tmp_path / 'a.png'))
    assert np.array_equal(got, gradient().transpose(turn))


def test_transparency_is_kept(tmp_path):
    rgba = gradient('RGBA')
    rgba.putalpha(gradient().getchannel('R'))
    palette = gradient().quantize(4)
    palette.info['transparency'] = 0
    key = gradient()
    key.info['transparency'] = (0, 0, 0)
    for image in (rgba, rgba.convert('LA'), palette, key):
        image.save(tmp_path / 'a.png')
        got = read_image(tmp_path / 'a.png')
        assert got.mode == 'RGBA'
        assert got.getchannel('A').getextrema()[0] == 0
    rgba.save(tmp_path / 'a.png')
    assert np.array_equal(read_image(tmp_path / 'a.png'), rgba)


@pytest.mark.parametrize('mode', [
    'L', '1', 'P', 'CMYK', pytest.param('YCbCr', marks=pytest.mark.skipif(
        PILLOW_12, reason='Pillow 12 cannot read the TIFF that it writes'))])
def test_other_modes_become_rgb(tmp_path, mode):
    gradient(mode).save(tmp_path / 'a.tiff')
    got = read_image(tmp_path / 'a.tiff')
    assert got.mode == 'RGB'
    want = np.asarray(gradient(mode).convert('RGB')).astype(int)
    assert np.abs(np.asarray(got) - want).max() <= 2


@pytest.mark.parametrize('suffix', ['png', 'tiff'])
def test_16_bits_are_scaled_not_clipped(tmp_path, suffix):
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f'a.{suffix}')
    got = np.asarray(read_image(tmp_path / f'a.{suffix}'))
    assert got[0].tolist() == [[v] * 3 for v in (0, 1, 128, 255)]


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new('RGB', (4, 4), c) for c in ('red', 'blue')]
    frames[0].save(tmp_path / 'a.webp', save_all=True, lossless=True,
                   append_images=frames[1:])
    assert read_image(tmp_path / 'a.webp').getpixel((0, 0)) == (255, 0, 0)


def whole_png(tmp_path):
    Image.effect_noise((64, 64), 80).save(tmp_path / 'whole.png')
    return (tmp_path / 'whole.png').read_bytes()


@pytest.mark.parametrize('name,make,words', [
    ('zero.png', lambda p: b'', 'is empty'),
    ('text.jpg', lambda p: b'hello\n' * 9, 'not a readable image'),
    ('header.png', lambda p: b'\x89PNG\r\n\x1a\nwrong' * 9, 'not a readable'),
    ('cut.png', lambda p: whole_png(p)[:-200], 'not a readable image'),
    ('flip.png', lambda p: whole_png(p).replace(b'IHDR', b'IHDX'),
     'not a readable image'),
    ('huge.png', lambda p: png_header(60000, 60000), 'pixels'),
    ('bomb.png', lambda p: png_header(10000, 10000), 'pixels'),
    ('a.mp3', lambda p: b'ID3' + bytes(200), 'not a readable image'),
    ('post.eps', lambda p: b'%!PS-Adobe-3.0 EPSF-3.0\n', 'not a readable'),
])
def test_what_is_not_an_image(tmp_path, name, make, words):
    path = tmp_path / name
    path.write_bytes(make(tmp_path))
    with pytest.raises(ValueError, match=words) as error:
        read_image(path)
    assert name in str(error.value) and '\n' not in str(error.value)


def test_other_formats_are_refused(tmp_path):
    for suffix in ('gif', 'ppm', 'ico'):
        gradient().save(tmp_path / f'a.{suffix}')
        with pytest.raises(ValueError, match=', '.join(IMAGE_FORMATS)):
            read_image(tmp_path / f'a.{suffix}')


def test_float_pixels_are_refused(tmp_path):
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / 'a.tiff')
    with pytest.raises(ValueError, match='float pixels'):
        read_image(tmp_path / 'a.tiff')


def test_no_such_file(tmp_path):
    for path in (tmp_path, tmp_path / 'a.png', 'http://localhost/a.png'):
        with pytest.raises(ValueError, match='not an existing file'):
            read_image(path)


@pytest.mark.parametrize('entry', [
    (0x011A, 10, 1, (-1, 0)), (0x0100, 99, 7, (1, 2)), (0x8769, 4, 1, (9, 9)),
    (0x8825, 4, 1, (2**32 - 1, 0)),
    pytest.param((0x010F, 2, 2**31, (50, 0)), marks=pytest.mark.skipif(
        PILLOW_12, reason='Pillow 12 reads no tag behind such an entry'))])
def test_broken_exif_is_no_fault_of_the_picture(tmp_path, entry):
    r"""A nonsense entry beside an orientation, which still applies."""
    tag, kind, count, value = entry
    value = struct.pack('>II', *(v % 2**32 for v in value))
    tags = [(0x0112, 3, 1, struct.pack('>HH', 6, 0)),
            (tag, kind, count, struct.pack('>I', 38 + 6))]
    exif = b'Exif\0\0MM\0*\0\0\0\x08\0\2' + b''.join(
        struct.pack('>HHI', *t[:3]) + t[3] for t in sorted(tags)) + bytes(
            10) + value
    gradient(size=(60, 40)).save(tmp_path / 'a.jpg', exif=exif)
    assert read_image(tmp_path / 'a.jpg').size == (40, 60)


@pytest.mark.parametrize('exif', [
    b'Exif\0\0', b'Exif\0\0MM\0*\xff\xff\xff\xff', b'Exif\0\0' + bytes(90),
    b'Exif\0\0II*\0\x08\0\0\0\xff\xff' + bytes(range(256))])
def test_exif_that_is_no_exif(tmp_path, exif):
    gradient(size=(60, 40)).save(tmp_path / 'a.jpg', exif=exif)
    assert read_image(tmp_path / 'a.jpg').size == (60, 40)


def test_jfif(tmp_path):
    gradient(size=(60, 40)).save(tmp_path / 'a.jfif')
    assert read_image(tmp_path / 'a.jfif').size == (60, 40)
    assert '.jfif' in IMAGE_SUFFIXES


@pytest.mark.parametrize('size', [(20000, 3), (3, 20000), (210, 10)])
def test_strips_are_refused(tmp_path, size):
    Image.new('RGB', size, 'red').save(tmp_path / 'a.png')
    words = f'a.png has {size[0]}x{size[1]} pixels, one side may be at most 20'
    with pytest.raises(ValueError, match=words):
        read_image(tmp_path / 'a.png')
    Image.new('RGB', (200, 10), 'red').save(tmp_path / 'a.png')
    assert read_image(tmp_path / 'a.png').size == (200, 10)


def test_mask_image(tmp_path):
    r"""White where it is both white and opaque."""
    white = Image.new('RGBA', (4, 1), (255, 255, 255, 0))
    white.putalpha(Image.fromarray(
        np.array([[0, 64, 128, 255]], np.uint8)))
    plain = Image.fromarray(np.array([[0, 64, 128, 255]], np.uint8))
    black = Image.new('RGBA', (4, 1), (0, 0, 0, 255))
    grey = Image.new('LA', (4, 1), (128, 255))
    for image, want in ((white, [0, 64, 128, 255]), (plain, [0, 64, 128, 255]),
                        (black, [0] * 4), (grey, [128] * 4)):
        image.save(tmp_path / 'm.png')
        got = read_mask_image(tmp_path / 'm.png')
        assert got.mode == 'L' and list(np.asarray(got)[0]) == want


def test_files_that_are_not_for_reading(tmp_path):
    os.mkfifo(tmp_path / 'fifo.png')
    os.symlink('/dev/zero', tmp_path / 'zero.png')
    with open(tmp_path / 'large.png', 'wb') as file:
        file.truncate(2**31)
    for name, words in (('fifo', 'not an existing'), ('zero', 'not an exist'),
                        ('large', 'too large')):
        with pytest.raises(ValueError, match=words):
            read_image(tmp_path / f'{name}.png')


def test_grid_of_one_is_the_image():
    image = torch.rand(1, 1, 3, 4)
    assert torch.equal(make_grid(image), image[0].expand(3, -1, -1))


def test_unit_range():
    got = unit_range(torch.tensor([-2, 0, 2.0, torch.inf]), (-1, 1))
    assert got.tolist() == [0, 0.5, 1, 1]
    assert unit_range(torch.zeros(1, dtype=torch.bfloat16), (-1, 1)).dtype == (
        torch.float32)
    with pytest.raises(ValueError, match='value_range'):
        unit_range(torch.zeros(1), (1, 1))
