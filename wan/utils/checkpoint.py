r"""A checkpoint folder: finding its files, and seeing that they are such.

No weights are read here; `weights` does that.
"""
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from easydict import EasyDict

from .foreign import (
    HEAD_BYTES,
    LFS_POINTER,
    foreign_folder,
    is_lfs_pointer,
    misnamed_weights,
)
from .plain_files import open_plain, read_json, reason
from .sizes import T5_SIZES, VAE_SIZES, Limit, check_sizes
from .weights import CheckpointError, check_head, load_weights, read_weights

__all__ = [
    'CheckpointError',
    'check_checkpoint',
    'check_tokenizer',
    'described',
    'find_weights',
    'fingerprint',
    'load_weights',
    'read_weights',
    'sidecar',
    'weight_files',
]

# Of networks that do not say otherwise, which is the official ones.
TEXT_DIM, LATENT_DIM = 4096, 16
TOKENIZER_BYTES = 2**27
TAIL_BYTES = 2**16


def find_weights(path: str | Path) -> Path:
    r"""The checkpoint at `path`, or its .safetensors variant beside it.

    Raises:
        CheckpointError: neither file exists, or what does may not be read or
            is evidently something else, such as a Git LFS pointer.
    """
    path = Path(path)
    for candidate in (path, path.with_suffix('.safetensors')):
        if _is_there(candidate):
            check_head(candidate)
            return candidate
    raise CheckpointError(
        f'No weights at {path} (nor as .safetensors beside it).')


def _is_there(path: Path) -> bool:
    try:
        open_plain(path).close()
    except FileNotFoundError:
        return False
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    return True


def sidecar(
    path: str | Path, limits: Mapping[str, Limit] = VAE_SIZES | T5_SIZES
) -> dict:
    r"""Constructor arguments from the .json beside a weights file.

    Official VAE and T5 files have none and mean the official sizes; a network
    of another size, such as a small one for tests, names its own there.

    Args:
        limits: of all arguments that the network has.

    Raises:
        CheckpointError: the file is not a JSON object, or a size in it is
            unknown or beyond its limit.
    """
    file = Path(path).with_suffix('.json')
    try:
        given = read_json(file)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    try:
        check_sizes(given, limits)
    except ValueError as error:
        raise CheckpointError(
            f'{file} does not describe the network: {error}.') from error
    return given


def weight_files(folder: str | Path) -> list[Path]:
    r"""The safetensors files of a diffusers model folder, shards included.

    Raises:
        CheckpointError: no weights there, the index is damaged, or a shard of
            it is missing or elsewhere.
    """
    folder = Path(folder)
    stem = 'diffusion_pytorch_model'
    index = folder / f'{stem}.safetensors.index.json'
    try:
        shards = read_json(index)['weight_map'].values()
        names = sorted(set(map(str, shards)))
    except FileNotFoundError:
        return [_one_file(folder / f'{stem}.safetensors')]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f'{index} is not an index of shards: {reason(error)}.') from error
    if not names:
        raise CheckpointError(
            f'{index} is not an index of shards: it names none.')
    if any(Path(name).name != name for name in names):
        raise CheckpointError(f'{index} names files outside its folder.')
    return [find_weights(folder / name) for name in names]


def _one_file(path: Path) -> Path:
    if _is_there(path):
        return find_weights(path)
    shards, others = misnamed_weights(path)
    if shards:
        raise CheckpointError(
            f'No weights at {path}, and the shards beside it, such as '
            f'{shards[0]}, lack their {path.name}.index.json.')
    if others:
        raise CheckpointError(
            f'No weights at {path}; if {others[0]} beside it holds a '
            f'transformer of Wan2.1, give it that name.')
    return find_weights(path)


def check_checkpoint(folder: str | Path, config: EasyDict) -> None:
    r"""Check that all parts are there, without reading their weights.

    Raises:
        ValueError: the folder is missing, may not be read or is in another
            layout; or parts in it are missing, and all are named.
        CheckpointError: a part may not be read or is something else.
    """
    folder = Path(folder)
    try:
        os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ValueError(
            f'Checkpoint folder {folder} is not a folder.') from error
    except (OSError, ValueError) as error:
        raise ValueError(f'Checkpoint folder {folder} cannot be read: '
                         f'{reason(error)}.') from error
    t5, vae = folder / config.t5_checkpoint, folder / config.vae_checkpoint
    clip = [folder / config.clip_checkpoint] \
        if 'clip_checkpoint' in config else []
    tokenizer = Path(config.t5_tokenizer, 'tokenizer.json')
    missing = [
        path.name for path in (t5, vae, *clip)
        if not _is_there(path)
        and not _is_there(path.with_suffix('.safetensors'))]
    missing += [
        str(part) for part in ('config.json', tokenizer)
        if not _is_there(folder / part)]
    kind = foreign_folder(folder) if missing else None
    if kind is not None:
        raise ValueError(f'Checkpoint {folder} is {kind}.')
    if missing:
        raise ValueError(
            f'Checkpoint {folder} is incomplete: no {", ".join(missing)}.')
    check_tokenizer(folder / config.t5_tokenizer)
    weight_files(folder)
    for path in clip:
        find_weights(path)
    _check_fit(folder / 'config.json', find_weights(t5), find_weights(vae))


def _check_fit(file: Path, t5: Path, vae: Path) -> None:
    r"""Check that the networks fit together, as far as is written beside them.

    Raises:
        CheckpointError: they do not, or a sidecar is damaged.
    """
    text = sidecar(t5, T5_SIZES).get('dim', TEXT_DIM)
    latent = sidecar(vae, VAE_SIZES).get('z_dim', LATENT_DIM)
    try:
        model = read_json(file)
    except ValueError:
        return  # for `WanModel.empty` to tell
    wanted = model.get('text_dim', TEXT_DIM), model.get('out_dim', LATENT_DIM)
    if wanted != (text, latent):
        raise CheckpointError(
            f'{file} is of a transformer for text features of '
            f'{str(wanted[0])[:20]} and latents of {str(wanted[1])[:20]} '
            f'channels, {t5.name} and {vae.name} have {text} and {latent}.')


def check_tokenizer(folder: str | Path) -> None:
    r"""Check that what is in a tokenizer's folder are files to be read.

    Raises:
        CheckpointError: one is closed, endless, or a Git LFS pointer.
    """
    try:
        for path in sorted(Path(folder).iterdir()):
            if path.is_dir():
                continue
            with open_plain(path, TOKENIZER_BYTES) as file:
                if is_lfs_pointer(file.read(HEAD_BYTES)):
                    raise ValueError(
                        f'Cannot read {path}: it is {LFS_POINTER}.')
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f'No tokenizer.json at {folder} can be read: {error}') from error


def described(folder: str | Path) -> dict:
    r"""What the config.json of a model's folder holds.

    Raises:
        CheckpointError: no such file, or it is no JSON object.
    """
    file = Path(folder) / 'config.json'
    try:
        return read_json(file)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f'{file} describes no model: {reason(error)}.') from error


def fingerprint(files: Iterable[str | Path]) -> str:
    r"""A hash of names, sizes and ends: gigabytes are not read for it.

    The end holds the checksums of a .pth file and the last tensor of a
    safetensors file, which no training leaves as it was.

    Raises:
        CheckpointError: a file may not be read.
    """
    digest = hashlib.sha256()
    for path in map(Path, files):
        try:
            with open_plain(path) as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size - TAIL_BYTES))
                tail = hashlib.sha256(file.read(TAIL_BYTES)).hexdigest()
        except (OSError, ValueError) as error:
            raise CheckpointError(str(error)) from error
        digest.update(f'{path.name}\0{size}\0{tail}\0'.encode(
            'utf-8', 'surrogateescape'))
    return digest.hexdigest()
