r"""Stills keep the colours that their files mean."""
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from wan.utils.image import open_image, read_image

COLOURS = ((40, 160, 120), (200, 60, 30), (128, 128, 128))


def profile(gamma=2.2, space=b'RGB '):
    r"""An ICC profile with Adobe RGB's primaries, or of grey."""
    def number(value):
        return struct.pack('>i', round(value * 65536))

    def point(values):
        return b'XYZ ' + bytes(4) + b''.join(map(number, values))

    curve = b'curv' + bytes(4) + struct.pack('>IH', 1, round(gamma * 256))
    tags = {b'desc': b'desc' + bytes(4) + struct.pack('>I', 2) + b'a\0'
            + bytes(78), b'wtpt': point((.9642, 1, .8249))}
    if space == b'RGB ':
        tags |= {b'rXYZ': point((.6097, .3111, .0195)),
                 b'gXYZ': point((.2053, .6257, .0609)),
                 b'bXYZ': point((.1492, .0632, .7446)),
                 b'rTRC': curve, b'gTRC': curve, b'bTRC': curve}
    else:
        tags[b'kTRC'] = curve
    start, table, body = 132 + 12 * len(tags), b'', b''
    for key, data in tags.items():
        data += bytes(-len(data) % 4)
        table += key + struct.pack('>II', start + len(body), len(data))
        body += data
    head = struct.pack(
        '>I4sI4s4s4s', start + len(body), b'none', 0x02100000, b'mntr', space,
        b'XYZ ') + bytes(12) + b'acsp' + bytes(28) + b''.join(
            map(number, (.9642, 1, .8249)))
    return (head.ljust(128, b'\0') + struct.pack('>I', len(tags)) + table
            + body)


def patches(colours=COLOURS, mode='RGB'):
    image = Image.new(mode, (32 * len(colours), 32))
    for i, colour in enumerate(colours):
        image.paste(colour, (32 * i, 0, 32 * i + 32, 32))
    return image


def centres(image):
    return [image.getpixel((16 + x, 16)) for x in range(0, image.width, 32)]


def coded_in(data, image):
    r"""An sRGB image coded in the colours of a profile."""
    return ImageCms.profileToProfile(
        image, ImageCms.createProfile('sRGB'),
        ImageCms.ImageCmsProfile(io.BytesIO(data)), renderingIntent=1)


@pytest.mark.parametrize('suffix', ['png', 'jpg', 'tiff', 'webp'])
def test_profile_is_converted(tmp_path, suffix):
    data = profile()
    coded = coded_in(data, patches())
    assert centres(coded)[0] != COLOURS[0]
    coded.save(tmp_path / f'a.{suffix}', icc_profile=data, quality=100)
    image, notes = open_image(tmp_path / f'a.{suffix}')
    assert np.abs(np.subtract(centres(image), COLOURS)).max() <= 6
    assert 'profile' in notes[0] and 'sRGB' in notes[0]


def test_profile_and_alpha(tmp_path):
    data = profile()
    coded = coded_in(data, patches())
    coded.putalpha(77)
    coded.save(tmp_path / 'a.png', icc_profile=data)
    image = read_image(tmp_path / 'a.png')
    assert image.mode == 'RGBA' and image.getpixel((5, 5))[3] == 77
    assert np.abs(np.subtract([c[:3] for c in centres(image)],
                              COLOURS)).max() <= 2


def test_grey_profile(tmp_path):
    r"""Linear grey of 55 is sRGB's 128."""
    image = Image.new('L', (8, 8), 55)
    image.save(tmp_path / 'a.png', icc_profile=profile(1.0, b'GRAY'))
    assert read_image(tmp_path / 'a.png').getpixel((4, 4)) == pytest.approx(
        (128,) * 3, abs=2)


def test_srgb_is_left_alone(tmp_path):
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    patches().save(tmp_path / 'a.png', icc_profile=data)
    image, notes = open_image(tmp_path / 'a.png')
    assert centres(image) == list(COLOURS) and notes == ()


@pytest.mark.parametrize('data,words', [
    (b'no profile', 'broken'), (profile()[:200], 'broken'),
    (profile(1.0, b'GRAY'), "for 'GRAY', the picture is RGB")])
def test_profile_that_does_not_fit(tmp_path, data, words):
    patches().save(tmp_path / 'a.png', icc_profile=data)
    image, notes = open_image(tmp_path / 'a.png')
    assert centres(image) == list(COLOURS)
    assert words in notes[0] and 'ignored' in notes[0]


def with_chunk(path, kind, data):
    png = path.read_bytes()
    chunk = struct.pack('>I', len(data)) + kind + data + struct.pack(
        '>I', zlib.crc32(kind + data))
    path.write_bytes(png[:33] + chunk + png[33:])


def test_png_gamma(tmp_path):
    r"""Linear light, as renderers write it: 55 is sRGB's 128."""
    patches([(55, 55, 55), (0, 0, 0), (255, 255, 255)]).save(
        tmp_path / 'a.png')
    with_chunk(tmp_path / 'a.png', b'gAMA', struct.pack('>I', 100_000))
    image, notes = open_image(tmp_path / 'a.png')
    got = [c[0] for c in centres(image)]
    assert got == pytest.approx([128, 0, 255], abs=1) and 'gamma' in notes[0]


@pytest.mark.parametrize('codes,colour,want,words', [
    ((12, 13), (234, 51, 35), (255, 0, 0), 'P3'),
    ((9, 16), (148, 148, 148), (250, 250, 250), r'HDR \(PQ\)'),
    ((9, 18), (191, 191, 191), (250, 250, 250), r'HDR \(HLG\)'),
    ((1, 13), (234, 51, 35), (234, 51, 35), None)])
def test_codes_of_a_png(tmp_path, codes, colour, want, words):
    patches([colour]).save(tmp_path / 'a.png')
    with_chunk(tmp_path / 'a.png', b'cICP', bytes([*codes, 0, 1]))
    image, notes = open_image(tmp_path / 'a.png')
    assert centres(image)[0] == pytest.approx(want, abs=5)
    assert (words is None and notes == ()) or words.replace(
        '\\', '') in notes[0]


def test_codes_of_an_avif(tmp_path):
    path = tmp_path / 'a.avif'
    patches([(234, 51, 35)]).save(path, quality=100, subsampling='4:4:4')
    assert open_image(path)[1] == ()
    data = path.read_bytes()
    at = data.index(b'colrnclx') + 8
    path.write_bytes(data[:at] + b'\0\x0c' + data[at + 2:])
    image, notes = open_image(path)
    assert centres(image)[0] == pytest.approx((255, 0, 0), abs=12)
    assert 'P3' in notes[0]
    path.write_bytes(data[:at] + b'\0\x09\0\x08' + data[at + 4:])
    with pytest.raises(ValueError, match='transfer 8 of H.273'):
        read_image(path)


def test_adobe_rgb_of_a_camera(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 2
    coded = coded_in(profile(563 / 256), patches())
    coded.save(tmp_path / 'a.jpg', exif=exif, quality=100)
    image, notes = open_image(tmp_path / 'a.jpg')
    assert np.abs(np.subtract(centres(image), COLOURS)).max() <= 6
    assert 'Adobe RGB' in notes[0]
