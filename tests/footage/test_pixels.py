r"""Formats of planes: names, sizes, and what conversion loses."""
import numpy as np
import pytest
import torch

from tests.utils.media import ffmpeg
from wan.footage.codecs import CODECS, coding
from wan.footage.colours import coded, subsampled, touched
from wan.footage.pixels import Pixels, converted
from wan.utils.colour import from_bt709, to_bt709

FORMATS = ['yuv420p', 'yuv422p', 'yuv444p', 'yuv411p', 'yuv410p', 'yuv440p',
           'yuv420p10le', 'yuv422p12le', 'yuv444p16le']


def random_planes(pixels):
    generator = np.random.default_rng(0)
    return [generator.integers(0, 2**pixels.depth, shape).astype(pixels.dtype)
            for shape in pixels.shapes]


@pytest.mark.parametrize('name', FORMATS)
def test_names_and_bytes_are_ffmpegs(tmp_path, name):
    pixels = Pixels.named(name, 37, 23)
    assert pixels.name == name
    path = tmp_path / 'a.raw'
    ffmpeg('-f', 'lavfi', '-i', 'testsrc=s=37x23', '-frames:v', 1, '-pix_fmt',
           name, '-f', 'rawvideo', path)
    assert path.stat().st_size == pixels.frame_bytes
    assert [p.shape for p in pixels.planes(path.read_bytes())] == list(
        pixels.shapes)


@pytest.mark.parametrize('name', ['rgb24', 'gbrp', 'pal8', 'gray', 'yuva420p'])
def test_no_such_planes(name):
    assert Pixels.named(name, 4, 4) is None


@pytest.mark.parametrize('name', FORMATS)
def test_more_loses_nothing(name):
    r"""To the finest and back, by picking what was repeated."""
    pixels = Pixels.named(name, 37, 23)
    planes = random_planes(pixels)
    fine = Pixels(37, 23, 0, 0, 16)
    wide = converted(planes, pixels, fine)
    assert [p.shape for p in wide] == [(23, 37)] * 3
    for i, (plane, new) in enumerate(zip(planes, wide, strict=True)):
        rows, columns = (1 << pixels.sy, 1 << pixels.sx) if i else (1, 1)
        assert (new[::rows, ::columns] >> (16 - pixels.depth) == plane).all()


def test_fewer_bits_and_another_range_are_rounded():
    deep = Pixels(8, 8, 0, 0, 12)
    planes = random_planes(deep)
    less = converted(planes, deep, Pixels(8, 8, 0, 0, 10))
    assert np.abs(less[0] - planes[0] / 4).max() <= 0.75
    full, tv = Pixels(4, 1, 0, 0, full=True), Pixels(4, 1, 0, 0, 10)
    grey = [np.array([[0, 51, 204, 255]], np.uint8),
            *[np.array([[128, 128, 128, 255]], np.uint8)] * 2]
    luma, blue, _ = converted(grey, full, tv)
    assert luma.tolist() == [[64, 239, 765, 940]]
    assert blue.tolist() == [[512, 512, 512, 958]]


@pytest.mark.parametrize('matrix,name', [
    (1, 'bt709'), (6, 'bt601'), (9, 'bt2020'), (7, 'smpte240m')])
@pytest.mark.parametrize('full', [False, True])
def test_colours_are_coded_as_ffmpeg_codes_them(tmp_path, matrix, name, full):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255),
               (0, 0, 0), (200, 120, 30)]
    pixels = Pixels(2, 2, 0, 0, full=full)
    for rgb in colours:
        path = tmp_path / 'a.raw'
        ffmpeg('-f', 'lavfi', '-i',
               f'color=s=2x2:c=0x{bytes(rgb).hex()},format=gbrp', '-frames:v',
               1, '-vf', f'scale=out_color_matrix={name}:out_range='
               f'{"pc" if full else "tv"}:flags=accurate_rnd', '-pix_fmt',
               'yuv444p', '-f', 'rawvideo', path)
        want = pixels.planes(path.read_bytes())
        got = coded(np.full((2, 2, 3), np.array(rgb) / 255), pixels, matrix)
        for a, b in zip(got, want, strict=True):
            assert np.abs(a - b).max() < 1.3


def test_chroma_lies_on_the_first_of_two_columns():
    pixels = Pixels(6, 2, 1, 1)
    ramp = np.tile(np.arange(6.), (2, 1))
    assert subsampled(ramp, pixels).tolist() == [[0.25, 2, 4]]
    assert subsampled(ramp[:, :5], pixels).tolist() == [[0.25, 2, 3.75]]
    mask = np.array([[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1]], bool)
    assert touched(mask, pixels, True).tolist() == [[False, False, True]]
    assert touched(mask, pixels, False).tolist() == [[False, True, True]]


@pytest.mark.parametrize('primaries,transfer', [
    (9, 16), (9, 18), (2, 16), (12, 13), (9, 1), (11, 4)])
def test_the_way_back_of_colours(primaries, transfer):
    rgb = torch.rand(500, 3, generator=torch.Generator().manual_seed(
        0)).numpy()
    there = from_bt709(rgb, primaries, transfer)
    assert there.dtype == np.float32 and 0 <= there.min() <= there.max() <= 1
    back = to_bt709(there, primaries, transfer)
    assert np.abs(back - rgb).max() < 0.01  # by rounding of matrices


def kept(name, codec, path, width=96, height=64, crf=None):
    pixels = Pixels.named(name, width, height)
    found = coding(pixels, codec, crf, path)
    return found.encoder.name, found.pixels.name, found.notes


@pytest.mark.parametrize('name,codec,path,want', [
    ('yuv420p', 'x264', 'a.mp4', ('libx264', 'yuv420p')),
    ('yuv422p10le', 'x264', 'a.mp4', ('libx264', 'yuv422p10le')),
    ('yuv420p12le', 'x265', 'a.mp4', ('libx265', 'yuv420p12le')),
    ('yuv422p10le', 'prores', 'a.mov', ('prores_ks', 'yuv422p10le')),
    ('yuv420p', 'lossless', 'a.mp4', ('libx264', 'yuv420p')),
    ('yuv420p10le', 'lossless', 'a.mkv', ('libx264', 'yuv420p10le')),
    ('yuv420p12le', 'lossless', 'a.mkv', ('ffv1', 'yuv420p12le')),
    ('yuv411p', 'lossless', 'a.mov', ('ffv1', 'yuv411p'))])
def test_a_codec_that_has_it_keeps_it(name, codec, path, want):
    assert kept(name, codec, path) == (*want, ())


@pytest.mark.parametrize('name,codec,want', [
    ('yuv420p12le', 'x264', ('libx264', 'yuv420p10le')),
    ('yuv420p', 'prores', ('prores_ks', 'yuv422p10le')),
    ('yuv444p', 'prores', ('prores_ks', 'yuv444p10le')),
    ('yuv411p', 'x264', ('libx264', 'yuv422p')),
    ('yuv440p', 'x264', ('libx264', 'yuv444p'))])
def test_else_it_is_said(name, codec, want):
    *found, notes = kept(name, codec, 'a.mov')
    assert tuple(found) == want
    assert len(notes) == 1 and 'of the template as' in notes[0]


def test_odd_sides():
    assert kept('yuv420p', 'x264', 'a.mp4', 711, 399)[1] == 'yuv444p'
    assert 'odd' in kept('yuv420p', 'x264', 'a.mp4', 711, 399)[2][1]
    assert kept('yuv422p', 'x264', 'a.mp4', 710, 399) == (
        'libx264', 'yuv422p', ())
    assert kept('yuv420p', 'lossless', 'a.mkv', 711, 399) == (
        'ffv1', 'yuv420p', ())


@pytest.mark.parametrize('codec,path,crf,words', [
    ('h264', 'a.mp4', None, 'codec must be one of x264, x265, prores'),
    ('x264', 'a.avi', None, 'must end in one of .mp4, .mov, .mkv'),
    ('prores', 'a.mp4', None, 'cannot hold prores, a name ending in .mov'),
    ('prores', 'a.mov', 12, 'prores has no crf; x264 and x265 have'),
    ('lossless', 'a.mkv', 0, 'lossless has no crf'),
    ('x264', 'a.mp4', 52, 'crf must be within 0 .best. and 51, not 52'),
    ('x264', 'a.mp4', float('nan'), 'crf must be within')])
def test_what_does_not_go_together(codec, path, crf, words):
    with pytest.raises(ValueError, match=words):
        kept('yuv420p', codec, path, crf=crf)


def test_no_bits_are_lost_without_loss():
    with pytest.raises(ValueError, match='cannot hold 12 bits without loss'):
        kept('yuv420p12le', 'lossless', 'a.mp4')


def test_crf():
    pixels = Pixels(96, 64, 1, 1)
    assert coding(pixels, 'x264', 20, 'a.mp4').options['crf'] == '20'
    assert coding(pixels, 'x264', 0, 'a.mp4').options['crf'] == '0'
    for codec, (first, *_) in CODECS.items():
        given = coding(pixels, codec, None, 'a.mkv').options.get('crf')
        assert given == (f'{first.crf:g}' if first.crf is not None else None)
