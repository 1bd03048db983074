r"""The files of an edit: template, photos and mask in, videos out."""
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors import SafetensorError, safe_open

from ..configs import SIZE_CONFIGS
from ..edit_config import EditConfig
from ..pvtt import Product, PVTTResult, check_mask, pastes
from ..refdrop.config import RefConfig
from ..utils.compare import contact_sheet, side_by_side
from ..utils.flags import settings
from ..utils.image import IMAGE_SUFFIXES, read_image
from ..utils.record import check_writable
from ..utils.utils import cache_video, save_image
from ..utils.video import VideoInfo, probe, read_video

MAX_FRAMES = 81
FPS = 16
# No video is larger; what a photo has beyond that costs memory only.
MAX_PHOTO_SIDE = 1280


@dataclass(frozen=True)
class Inputs:
    r"""Everything an edit needs but the model.

    Args:
        clip: the template, [3, 4n + 1, H, W] in [-1, 1], at 16 frames a
            second.
        size: (width, height) of clip and result.
        products: the photos.
        mask: [1 or F, H, W] in [0, 1], or None if none is used.
        reverse_from: an edited clip to go back from, or None.
        audio: the template's path when its audio fits the result.
        notes: what was changed or dropped, for the user to know.
    """
    clip: torch.Tensor
    size: tuple[int, int]
    products: tuple[Product, ...]
    mask: torch.Tensor | None
    edit: EditConfig
    ref: RefConfig
    reverse_from: torch.Tensor | None
    audio: str | None
    notes: tuple[str, ...]


def read_inputs(args: Namespace, sizes: Sequence[str], depth: int) -> Inputs:
    r"""Read and check the template, the photos and the settings.

    Args:
        args: flags, with the experiment file's values filled in.
        sizes: keys of `SIZE_CONFIGS` that the model supports.
        depth: the model's number of blocks.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    for name in ('src_video', 'source_prompt', 'target_prompt'):
        if not str(getattr(args, name) or '').strip():
            raise ValueError(f'--{name} is missing.')
    edit = EditConfig(**settings(args, EditConfig))
    products = _products(args)
    ref = _reference(args, len(products), depth)

    info = probe(args.src_video)
    size = _size(args, info, sizes)
    clip, notes = _template(args, info, size)
    frames = clip.size(1)
    mask = back = None
    if args.src_mask:
        mask = _mask(args.src_mask, size, frames, args.fit)
    if not args.use_mask and (
            args.src_mask or args.source_blend or args.target_blend):
        notes.append(
            '--use_mask is false: what was given to find the product by is '
            'not used.')
        mask = None
    if args.reverse:
        if edit.edit_method == 'sdedit':
            raise ValueError(
                '--reverse needs --edit_method flowalign or flowedit: sdedit '
                'cannot be reversed.')
        pull = ref.ref_collage if pastes(edit, ref, products, mask) else 0
        if max(edit.fg_zeta_scale, edit.bg_zeta_scale, pull) > 0.01:
            notes.append(
                'Zeta above 0.01 erases the way back: the reverse of such an '
                'edit is inexact.')
        back = read_video(args.reverse, size, FPS, frames, args.fit)
        if back.size(1) != frames:
            raise ValueError(
                f'--reverse {args.reverse} has {back.size(1)} frames, the '
                f'template {frames}.')
    audio = str(args.src_video) if info.has_audio else None
    if info.audio_codec == 'none':  # ffmpeg's word for one it does not know
        audio = None
        notes.append(
            "The template's audio cannot be decoded; the result has none.")
    return Inputs(
        clip, size, products, mask, edit, ref, back, audio, tuple(notes))


def _products(args: Namespace) -> tuple[Product, ...]:
    if not args.use_reference:
        return ()
    if not args.target_image:
        raise ValueError(
            '--target_image is missing: a photo of the new product; '
            '--use_reference false edits by text alone.')
    paths = _names(args.target_image)
    photos = [_photo(p) for p in paths]
    names = _names(args.target_mask)
    if names and len(names) != len(photos):
        raise ValueError(
            f'--target_mask names {len(names)} masks for {len(photos)} '
            f'photos; one each is needed.')
    masks = [_photo(p).convert('L') for p in names] or [None] * len(photos)
    return tuple(map(_product, paths, photos, masks))


def _names(paths: str | None) -> list[str]:
    return [name.strip() for name in (paths or '').split(',') if name.strip()]


def _product(path, photo, mask) -> Product:
    try:
        return Product(photo, mask)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def _photo(path: str) -> Image.Image:
    image = read_image(path)
    if max(image.size) > MAX_PHOTO_SIDE:
        return ImageOps.contain(image, (MAX_PHOTO_SIDE, MAX_PHOTO_SIDE))
    return image


def _reference(args: Namespace, photos: int, depth: int) -> RefConfig:
    given = settings(args, RefConfig)
    if photos > 1 and 'ref_c' not in given:
        raise ValueError(
            f'{photos} photos need --ref_c with {photos} values.')
    ref = RefConfig.from_preset(args.ref_preset or 'default', **given)
    if photos and len(ref.ref_c) != photos:
        raise ValueError(
            f'--ref_c has {len(ref.ref_c)} values for {photos} photos; one '
            f'each is needed.')
    if ref.ref_layers.strip() and not ref.layers(depth):
        raise ValueError(
            f'--ref_layers {ref.ref_layers} names no block of this model: it '
            f'has 0 to {depth - 1}.')
    if photos and ref.ref_rope == 'box' and not args.use_mask:
        raise ValueError(
            "--ref_rope box needs the product's place in the video, which "
            '--use_mask false does not look for.')
    if given.get('ref_collage') and not (
            photos and args.use_mask and args.src_mask):
        raise ValueError(
            f'--ref_collage {ref.ref_collage} pastes a photo into a given '
            f'mask, but --use_reference is {args.use_reference}, --use_mask '
            f'{args.use_mask} and --src_mask {args.src_mask or "missing"}.')
    if args.ref_bank and ref.matched:
        raise ValueError('--ref_bank cannot keep what --ref_t match refills.')
    if args.ref_bank and photos:
        _check_bank(args.ref_bank)
    return ref


def _check_bank(path: str) -> None:
    r"""See that a bank can be read or, where none is, be written."""
    if not Path(path).exists():
        return check_writable(path)
    try:
        with safe_open(path, 'pt'):
            pass
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f'--ref_bank {path} is no readable bank: {error}.') from error


def _size(args, info: VideoInfo, sizes) -> tuple[int, int]:
    if args.size is not None:
        if args.size not in sizes:
            raise ValueError(
                f'--size {args.size} is not supported by this model; '
                f'allowed: {", ".join(sizes)}.')
        return SIZE_CONFIGS[args.size]
    aspect = info.width / info.height

    def mismatch(size):
        ratio = SIZE_CONFIGS[size][0] / SIZE_CONFIGS[size][1] / aspect
        return max(ratio, 1 / ratio)

    return SIZE_CONFIGS[min(sizes, key=mismatch)]


def _template(args, info, size) -> tuple[torch.Tensor, list[str]]:
    wanted = args.frame_num
    # One frame more than is used tells whether any are left over.
    clip = read_video(
        args.src_video, size, FPS, (wanted or MAX_FRAMES) + 1, args.fit)
    count = clip.size(1)
    used = min(wanted or MAX_FRAMES, (count - 1) // 4 * 4 + 1)
    notes = []
    if wanted is not None and used < wanted:
        notes.append(
            f'The template has only {count} frames at {FPS} a second; '
            f'{used} are edited, not {wanted}.')
    elif used < count:
        notes.append(
            f'Only the first {used} frames of the template (at {FPS} a '
            f'second) are edited; the rest is dropped.')
    if (info.width, info.height) != size:
        same_aspect = info.width * size[1] == info.height * size[0]
        how = '' if same_aspect else \
            ' and cropped' if args.fit == 'crop' else ' and padded'
        notes.append(
            f'The template of {info.width}x{info.height} is resized{how} to '
            f'{size[0]}x{size[1]}.')
    return clip[:, :used].contiguous(), notes


def _mask(path, size, frames, fit) -> torch.Tensor:
    r"""A mask image or video as [1 or F, H, W] in [0, 1]."""
    mask = _read_mask(path, size, frames, fit)
    try:
        check_mask(mask, size, frames)
    except ValueError as error:
        raise ValueError(f'--src_mask {path}: {error}') from error
    return mask


def _read_mask(path, size, frames, fit) -> torch.Tensor:
    if Path(path).suffix.lower() in IMAGE_SUFFIXES:
        resize = ImageOps.fit if fit == 'crop' else ImageOps.pad
        image = resize(read_image(path).convert('L'), size)
        return torch.from_numpy(np.asarray(image, np.float32) / 255)[None]
    mask = read_video(path, size, FPS, frames, fit)
    if mask.size(1) != frames:
        raise ValueError(
            f'--src_mask {path} has {mask.size(1)} frames, the template '
            f'{frames}.')
    return (mask.mean(0) + 1) / 2


def companions(path: Path) -> dict[str, Path]:
    r"""The files written beside an edit, by what they show."""
    suffixes = {
        'mask': path.suffix, 'comparison': path.suffix, 'sheet': '.png'}
    return {
        name: path.with_name(f'{path.stem}_{name}{suffix}')
        for name, suffix in suffixes.items()
    }


def save_edit(
    path: Path,
    result: PVTTResult,
    inputs: Inputs,
    fps: float,
    comparison: bool,
    metadata: Mapping[str, str],
) -> None:
    r"""Write the edited video, and its `companions` that help to judge it.

    Args:
        comparison: write template, photo and result side by side, as a video
            and as a contact sheet.
        metadata: tags inside the edited video.
    """
    beside = companions(path)
    cache_video(
        result.video[None], path, fps=fps, nrow=1, audio=inputs.audio,
        metadata=metadata)
    if result.mask is not None:
        cache_video(
            result.mask[None, None], beside['mask'], fps=fps, nrow=1,
            value_range=(0, 1))
    if comparison:
        save_image(
            contact_sheet([
                ('template', inputs.clip),
                *(('product photo', p.photo) for p in inputs.products),
                ('result', result.video)]),
            beside['sheet'])
        row = side_by_side([
            inputs.clip, *map(_still, inputs.products), result.video])
        cache_video(row[None], beside['comparison'], fps=fps, nrow=1)


def _still(product: Product) -> torch.Tensor:
    r"""A photo as a clip [3, 1, H, W] in [-1, 1], transparency on white."""
    pixels = np.asarray(product.on_white, np.float32) / 127.5 - 1
    return torch.from_numpy(pixels).permute(2, 0, 1)[:, None]
