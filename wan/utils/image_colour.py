r"""What the colours of a still image mean, and its conversion to sRGB.

Said by its ICC profile, by the codes of H.273 in a PNG or AVIF file, by the
interoperability tag of a camera, or by a PNG's gamma; else it is sRGB.
"""
import io
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms

from wan.utils.colour import (
    ADOBE_RGB,
    DISPLAYED,
    GAMMA_22,
    HDR,
    SRGB,
    converted,
    to_bt709,
)

HEAD = 2**16  # bytes, in which the codes of H.273 are looked for
SPACES = {'L': 'GRAY', 'RGB': 'RGB', 'CMYK': 'CMYK'}  # modes, as ICC says
SAME = 2  # levels of 255 that no conversion is worth


def in_srgb(
    image: Image.Image, path: str | Path
) -> tuple[Image.Image, tuple[str, ...]]:
    r"""An image as sRGB, and sentences on what was done.

    Args:
        image: mode L, CMYK, RGB or RGBA, with the `info` of its file.
        path: the file.

    Returns:
        mode RGBA if `image` is, else RGB.

    Raises:
        ValueError: colours of a kind that is not read here.
    """
    alpha = image.getchannel('A') if image.mode == 'RGBA' else None
    info = image.info
    if alpha is not None:
        image = image.convert('RGB')
    codes = _codes(path)
    if codes:
        image, note = _coded(image, *codes)
    elif info.get('icc_profile'):
        image, note = _profiled(image, info['icc_profile'])
    elif image.mode == 'RGB' and _is_adobe_rgb(
            info.get('exif', b'')):
        image, note = _coded(image, ADOBE_RGB, GAMMA_22)
    else:
        image, note = _with_gamma(image, info)
    image = image.convert('RGB')
    if alpha is not None:
        image.putalpha(alpha)
    return image, (note,) if note else ()


def _codes(path) -> tuple[int, int] | None:
    r"""Primaries and transfer of H.273, unless an ICC profile outweighs."""
    with open(path, 'rb') as file:
        head = file.read(HEAD)
    if head.startswith(b'\x89PNG'):
        at = head[:head.find(b'IDAT')].find(b'cICP') + 4
        return tuple(head[at:at + 2]) if at > 3 else None
    if head[4:8] == b'ftyp' and b'colrprof' not in head:
        at = head.find(b'colrnclx') + 8
        return (head[at + 1], head[at + 3]) if at > 7 else None
    return None


def _coded(image, primaries, transfer) -> tuple[Image.Image, str | None]:
    if transfer not in DISPLAYED:
        raise ValueError(f'its colours have transfer {transfer} of H.273')
    change = converted(primaries, transfer)
    if change is None or image.mode != 'RGB':
        return image, None
    if transfer not in (*HDR, GAMMA_22):  # stills mean that of sRGB
        transfer = SRGB
    pixels = to_bt709(
        np.asarray(image, np.float32) / 255, primaries, transfer, still=True)
    return Image.fromarray((pixels * 255).round().astype(np.uint8)), (
        f'Its colours are {change.replace("BT.709", "sRGB")}.')


def _profiled(image, data: bytes) -> tuple[Image.Image, str | None]:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        space = profile.profile.xcolor_space.strip()
        if space != SPACES[image.mode]:
            return image, (
                f'Its colour profile is for {ascii(space)}, the picture is '
                f'{SPACES[image.mode]}: the profile is ignored.')
        transform = ImageCms.buildTransform(
            profile, ImageCms.createProfile('sRGB'), image.mode, 'RGB',
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION)
        if image.mode != 'CMYK' and _changes_nothing(transform, image.mode):
            return image, None
        name = ImageCms.getProfileDescription(profile).strip()[:80]
        return ImageCms.applyTransform(image, transform), (
            f'Its colours are brought from the profile {name!r} to sRGB.')
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        cause = ' '.join(str(error).split())[:80]
        return image, (f'Its colour profile is broken ({cause}) and is '
                       'ignored.')


def _changes_nothing(transform, mode: str) -> bool:
    levels = np.linspace(0, 255, 16).astype(np.uint8)
    table = levels[None] if mode == 'L' else np.stack(
        np.meshgrid(levels, levels, levels), -1).reshape(-1, 16, 3)
    sample = Image.fromarray(table)
    result = np.asarray(ImageCms.applyTransform(sample, transform), int)
    return np.abs(result - np.asarray(sample.convert('RGB'))).max() <= SAME


def _is_adobe_rgb(exif: bytes) -> bool:
    r"""Cameras say so by this tag alone, or by the name of the file."""
    tags = Image.Exif()
    try:
        tags.load(exif)
        space = tags.get_ifd(ExifTags.IFD.Exif).get(
            ExifTags.Base.ColorSpace)
        if space != 0xFFFF:
            return space == 2
        index = tags.get_ifd(ExifTags.IFD.Interop).get(1, '')
    except Exception:  # parsers raise any kind on damaged data
        return False
    return str(index).startswith('R03')


def _with_gamma(image, info) -> tuple[Image.Image, str | None]:
    gamma = info.get('gamma')
    if not gamma or 'srgb' in info or abs(gamma * 2.2 - 1) < 0.05:
        return image, None
    light = np.linspace(0, 1, 256) ** (1 / gamma)
    curve = np.where(light <= 0.0031308, 12.92 * light,
                     1.055 * light ** (1 / 2.4) - 0.055) * 255
    table = curve.round().astype(int).tolist()
    return image.point(table * len(image.getbands())), (
        f'Its colours are brought from a gamma of {gamma:.4g} to sRGB.')
