r"""Colours keep their meaning: range, matrix, gamut, HDR and alpha."""
import numpy as np
import pytest
import torch
from PIL import Image

from tests.utils.media import ffmpeg, make_clip
from wan.utils.colour import BT2020, DISPLAY_P3, HLG, PQ, SRGB, to_bt709
from wan.utils.video import probe, read_video


def colours(path, **options):
    r"""The mean colour of the inner left and right half, 0 to 255."""
    video = (read_video(path, max_frames=1, **options)[:, 0] + 1) * 127.5
    width = video.shape[-1] // 2
    return [[round(x) for x in half[:, 4:-4, 8:-8].mean((1, 2)).tolist()]
            for half in video.split(width, -1)]


def halves(path, left, right, size, *options):
    r"""A clip of two colours in the matrix and tags that `options` say."""
    width, height = size
    ffmpeg('-f', 'lavfi', '-i', f'color={left}:s={width // 2}x{height}:r=8:'
           'd=0.25', '-f', 'lavfi', '-i', f'color={right}:s={width // 2}x'
           f'{height}:r=8:d=0.25', '-filter_complex', '[0][1]hstack,format='
           f'gbrp,{options[0]}', '-c:v', 'libx264', '-crf', 4, '-preset',
           'ultrafast', *options[1:], path)
    return path


@pytest.mark.parametrize('size,matrix', [
    ((128, 96), 'bt601'), ((1024, 576), 'bt601'), ((1280, 720), 'bt709'),
    ((1040, 400), 'bt709'), ((720, 1280), 'bt709')])
def test_untagged(tmp_path, size, matrix):
    path = halves(tmp_path / 'a.mkv', '0x28A078', '0xC83264', size,
                  f'scale=out_color_matrix={matrix}:flags=accurate_rnd,format='
                  'yuv420p,setparams=colorspace=unknown')
    want = [[40, 160, 120], [200, 50, 100]]
    assert np.abs(np.subtract(colours(path), want)).max() <= 3
    assert (matrix == 'bt709') == any(
        'read as BT.709' in note for note in probe(path).notes)


@pytest.mark.parametrize('matrix,range_', [
    ('bt709', 'tv'), ('bt709', 'pc'), ('bt601', 'tv'), ('bt601', 'pc')])
def test_tagged(tmp_path, matrix, range_):
    r"""Tags outweigh the size; full range is no contrast of its own."""
    tag = {'bt709': 'bt709', 'bt601': 'smpte170m'}[matrix]
    path = halves(tmp_path / 'a.mp4', '0x28A078', 'white', (128, 96),
                  f'scale=out_color_matrix={matrix}:out_range={range_}:flags='
                  f'accurate_rnd,format=yuv420p,setparams=colorspace={tag}:'
                  f'range={range_}')
    want = [[40, 160, 120], [255, 255, 255]]
    assert np.abs(np.subtract(colours(path), want)).max() <= 2
    assert probe(path).notes == ()


def hdr(path, transfer, left='white', right='red', codec='libx265'):
    r"""Colours of BT.709 whose white has 203 nits, coded as HDR."""
    extra = ('-x265-params', 'log-level=error:colorprim=bt2020:transfer='
             f'{transfer}:colormatrix=bt2020nc')
    return halves(
        path, left, right, (128, 64),
        'setparams=colorspace=gbr:color_primaries=bt709:color_trc=bt709:'
        'range=pc,zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt2020:'
        f't={transfer}:m=bt2020nc:r=tv:npl=203,format=yuv420p10le',
        '-c:v', codec, *(extra if codec == 'libx265' else ()))


@pytest.mark.parametrize('transfer,name', [
    ('arib-std-b67', 'HLG'), ('smpte2084', 'PQ')])
def test_hdr(tmp_path, transfer, name):
    path = hdr(tmp_path / 'a.mov', transfer)
    white, red = colours(path)
    assert min(white) >= 247 and max(white) - min(white) <= 1
    assert red[0] >= 247 and max(red[1:]) <= 12
    assert f'HDR ({name})' in probe(path).notes[0]
    path = hdr(tmp_path / 'b.mov', transfer, '0x808080', '0x28A078')
    want = [[128] * 3, [40, 160, 120]]
    assert np.abs(np.subtract(colours(path), want)).max() <= 4
    small = colours(path, size=(48, 48), fps=16, fit='pad')
    assert np.isfinite(small).all()


def test_hdr_keeps_highlights_apart():
    for transfer, codes in ((PQ, (0.58, 0.65, 0.75)), (HLG, (0.75, 0.85, 1))):
        grey = np.repeat(np.array(codes)[:, None], 3, 1)
        got = to_bt709(grey, BT2020, transfer)[:, 0]
        assert (np.diff(got) > 0.001).all() and 0.97 < got[0] < got[2] <= 1
    assert to_bt709(np.ones(3), BT2020, PQ).max() <= 1


def test_wide_gamut():
    r"""P3's green is brighter than BT.709's; greys are greys in any gamut."""
    for gamut in (BT2020, DISPLAY_P3):
        for transfer in (1, SRGB):
            grey = to_bt709(np.full(3, 0.5), gamut, transfer)
            assert grey == pytest.approx([0.5] * 3, abs=1e-3)
            red = to_bt709(np.array([0.8, 0.2, 0.2]), gamut, transfer)
            assert red[0] > 0.8 and red[1] < 0.2
    # P3 (0.875, 0.34, 0.2) is about sRGB (0.95, 0.27, 0.15)
    got = to_bt709(np.array([0.9175, 0.2003, 0.1387]), DISPLAY_P3, SRGB)
    assert got == pytest.approx([1.0, 0.0, 0.0], abs=0.01)


def test_wide_gamut_video(tmp_path):
    path = halves(
        tmp_path / 'a.mp4', '0xEA3323', 'gray', (128, 64),
        'scale=out_color_matrix=bt709:flags=accurate_rnd,format=yuv420p,'
        'setparams=colorspace=bt709:color_primaries=smpte432:color_trc='
        'iec61966-2-1:range=tv')
    red, grey = colours(path)
    assert red[0] >= 252 and max(red[1:]) <= 12
    assert np.abs(np.subtract(grey, 128)).max() <= 2
    assert 'P3' in probe(path).notes[0]


@pytest.mark.parametrize('tags,words', [
    ('transfer_characteristics=8', 'transfer 8 of H.273'),
    ('transfer_characteristics=9', 'transfer 9 of H.273'),
    ('matrix_coefficients=8', 'matrix 8 of H.273')])
def test_unknown_colours_are_refused(tmp_path, tags, words):
    path = make_clip(tmp_path / 'a.mp4', '-bsf:v', f'h264_metadata={tags}')
    with pytest.raises(ValueError, match=f'a.mp4 has colours .*{words}'):
        read_video(path)


ALPHA = {
    'a.webm': ('libvpx-vp9', 'yuva420p'), 'b.webm': ('libvpx', 'yuva420p'),
    'a.mov': ('prores_ks', 'yuva444p10le'), 'b.mov': ('qtrle', 'argb'),
    'c.mov': ('png', 'rgba'), 'a.gif': ('gif', 'bgra'),
    'a.mkv': ('ffv1', 'yuva444p')}


def cutout(folder, name, alpha=255):
    r"""Red (220, 30, 40) in the middle of hidden green; the right is red."""
    image = Image.new('RGBA', (64, 64), (0, 255, 0, 0))
    image.paste((220, 30, 40, alpha), (16, 16, 64, 48))
    image.save(folder / 'f.png')
    if name == 'a.gif':
        frames = [image.copy() for _ in range(4)]
        for i, frame in enumerate(frames):  # or Pillow makes one of them
            frame.putpixel((20 + i, 20), (0, 0, 0, 255))
        frames[0].save(folder / name, save_all=True, duration=60, disposal=2,
                       append_images=frames[1:])
        return folder / name
    codec, pixels = ALPHA[name]
    options = ('-auto-alt-ref', 0) if codec == 'libvpx' else ()
    ffmpeg('-loop', 1, '-framerate', 16, '-i', folder / 'f.png', '-t', 0.25,
           '-c:v', codec, '-b:v', '4M', '-pix_fmt', pixels, *options,
           folder / name)
    return folder / name


@pytest.mark.parametrize('name', ALPHA)
@pytest.mark.parametrize('ground', ['white', 'black'])
def test_alpha_is_composited(tmp_path, name, ground):
    path = cutout(tmp_path, name)
    info = probe(path)
    assert info.has_alpha and 'shown on white' in ' '.join(info.notes)
    video = (read_video(path, ground=ground) + 1) * 127.5
    assert video.shape[1:] == (4, 64, 64)
    level = 255 if ground == 'white' else 0
    assert (video[:, :, :10] - level).abs().max() <= 3
    red = torch.tensor([220., 30, 40]).view(3, 1, 1, 1)
    assert (video[:, :, 24:40, 24:56] - red).abs().max() <= 16
    # Nothing of the hidden green, not even at the edge or scaled down.
    small = (read_video(path, (20, 20), 16, 2, ground='black') + 1) * 127.5
    assert (small[1] <= small[0] * 0.5 + 6).all()


def test_half_transparent(tmp_path):
    path = cutout(tmp_path, 'c.mov', alpha=128)
    video = (read_video(path) + 1) * 127.5
    got = video[:, 0, 32, 40].tolist()
    assert got == pytest.approx([237.5, 142, 147], abs=2)


def test_opaque_has_no_alpha(tmp_path):
    assert not probe(make_clip(tmp_path / 'a.mp4')).has_alpha


def test_hdr_with_alpha(tmp_path):
    r"""White at half alpha, in HLG, is white on white and grey on black."""
    path = tmp_path / 'a.mov'
    ffmpeg('-f', 'lavfi', '-i', 'color=white:s=64x64:r=8:d=0.25,format=gbrap,'
           'lutrgb=r=191:g=191:b=191:a=128', '-vf', 'scale=out_color_matrix='
           'bt2020:out_range=tv,format=yuva444p10le,setparams=colorspace='
           'bt2020nc:color_primaries=bt2020:color_trc=arib-std-b67:range=tv',
           '-c:v', 'prores_ks', path)
    assert 'HLG' in probe(path).notes[0] and probe(path).has_alpha
    for ground, want in (('white', 252), ('black', 125)):
        got = (read_video(path, ground=ground) + 1) * 127.5
        assert (got - want).abs().max() <= 4
