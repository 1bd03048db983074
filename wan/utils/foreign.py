r"""What people have in place of an official checkpoint, and its name.

Only names and first bytes are looked at; every answer is for an error message.
"""
import os
from pathlib import Path

from .plain_files import open_plain

HEAD_BYTES = 4096
# (place, bytes there, what begins so)
HEADS = (
    (0, b'GGUF', 'a GGUF file, which is not supported'),
    (0, b'\x89HDF', 'an HDF5 file, not PyTorch weights'),
    (0, b'\x93NUMPY', 'a NumPy array, not PyTorch weights'),
    (0, b'\x1f\x8b', 'a gzip archive: unpack it'),
    (0, b'BZh', 'a bzip2 archive: unpack it'),
    (0, b'\xfd7zXZ', 'an xz archive: unpack it'),
    (0, b'\x28\xb5\x2f\xfd', 'a zstd archive: unpack it'),
    (0, b'7z\xbc\xaf', 'a 7z archive: unpack it'),
    (0, b'Rar!', 'a RAR archive: unpack it'),
    (257, b'ustar', 'a tar archive: unpack it'),
    (0, b'%PDF', 'a PDF document, not weights'),
    (0, b'\x89PNG', 'a picture, not weights'),
    (0, b'\xff\xd8\xff', 'a picture, not weights'),
    (0, b'RIFF', 'a picture or sound, not weights'),
    (4, b'ftyp', 'a video, not weights'),
    (0, b'\x1aE\xdf\xa3', 'a video, not weights'),
)
HUB_ROOT = 'models--'
LFS_POINTER = ('a Git LFS pointer, not the file it stands for, which `git lfs '
               'pull` fetches')


def is_lfs_pointer(head: bytes) -> bool:
    r"""Whether a file that begins so stands for one that is elsewhere."""
    return head.startswith(b'version http') and b'\noid ' in head


def foreign_head(path: str | Path) -> str | None:
    r"""What a file is that was named as weights, by its first bytes.

    Returns:
        A phrase such as 'a Git LFS pointer ...'; None if it may be weights of
        the kind that its name says.

    Raises:
        FileNotFoundError, ValueError: see `open_plain`.
    """
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(HEAD_BYTES)
    if not size:
        return 'empty'
    if is_lfs_pointer(head):
        return LFS_POINTER
    text = head.lstrip(b'\xef\xbb\xbf \t\r\n')
    if text.startswith(b'<'):
        return 'a web page or XML, not weights: download the file itself'
    for place, magic, kind in HEADS:
        if head.startswith(magic, place):
            return kind
    return _misnamed(head, text, Path(path).suffix == '.safetensors')


def _misnamed(head: bytes, text: bytes, as_safetensors: bool) -> str | None:
    safetensors = head[8:9] == b'{' and int.from_bytes(
        head[:8], 'little') < 2**32
    if safetensors and not as_safetensors:
        return 'a safetensors file of another name: let it end in .safetensors'
    if head.startswith(b'PK') and as_safetensors:
        return 'a PyTorch or zip file of another name: let it end in .pth'
    if head[:1] == b'\x80' and head[1:2] <= b'\x05' and not safetensors:
        return ('a bare pickle, such as PyTorch before 1.6 wrote: load it '
                'and write it anew with torch.save')
    if not safetensors and all(32 <= c < 127 or c in b'\t\r\n' for c in text):
        return 'text, not weights'
    return None


def misnamed_weights(path: Path) -> tuple[list[str], list[str]]:
    r"""Names of the shards of a missing file, and of what else it may be."""
    names = sorted(_names(path.parent))
    shards = [n for n in names if n.startswith(f'{path.stem}-')]
    return shards, [
        n for n in names if n.endswith(('.safetensors', '.gguf', '.ckpt'))
        and not n.startswith(('Wan2.1_VAE', 'models_', *shards))]


def foreign_folder(folder: Path) -> str | None:
    r"""What a folder is that was named as a checkpoint and is none.

    Returns:
        A phrase with what is needed in its place; None if nothing is known.
    """
    names = _names(folder)
    if 'model_index.json' in names:
        return ('in the layout of diffusers (model_index.json); needed is the '
                'original one, as in a repository without "-Diffusers" in its '
                'name')
    if {'high_noise_model', 'low_noise_model'} <= names:
        return 'of Wan2.2, with two transformers; needed is one of Wan2.1'
    if any(name.startswith('Wan2.2_VAE') for name in names):
        return 'of Wan2.2, with another VAE; needed is one of Wan2.1'
    if names & {'split_files', 'diffusion_models', 'text_encoders'}:
        return ('in the layout of ComfyUI; needed is the original one, with '
                'all files in one folder')
    if 'snapshots' in names or folder.name == 'snapshots':
        found = _snapshot(folder)
        return 'the cache of a hub' + (
            f'; its files are in {found}' if found else ' without any files')
    if any(name.startswith(HUB_ROOT) for name in names):
        return ('the cache of a hub; needed is the folder below snapshots/ of '
                'one model in it')
    below = sorted(n for n in names if _holds_model(_names(folder / n)))
    if below:
        return f'the folder above one: {folder / below[0]} holds a model'
    return None


def foreign_model(config: dict) -> str | None:
    r"""What a config.json describes that is no transformer of Wan2.1."""
    kind, model = config.get('_class_name'), config.get('model_type')
    if kind == 'WanTransformer3DModel':
        return ('a transformer in the layout of diffusers; needed is the '
                'original one')
    if model in ('ti2v', 's2v', 'animate'):
        return f'a {model} model of Wan2.2; needed is one of Wan2.1'
    if 'architectures' in config:
        return f'a model of transformers, {str(config["architectures"])[:80]}'
    if isinstance(kind, str) and kind not in ('WanModel', 'VaceWanModel'):
        return f'a {kind[:80]}'
    return None


def _snapshot(folder: Path) -> Path | None:
    r"""The one that refs/main names, else the first that has files."""
    folder = folder.parent if folder.name == 'snapshots' else folder
    main = folder / 'refs' / 'main'
    try:
        with open_plain(main, HEAD_BYTES) as file:
            name = file.read().decode().strip()
    except (OSError, ValueError):
        name = ''
    snapshots = folder / 'snapshots'
    found = sorted(n for n in _names(snapshots) if _names(snapshots / n))
    return snapshots / (name if name in found else found[0]) if found else None


def _holds_model(names: set[str]) -> bool:
    return 'config.json' in names and any(
        name.startswith('diffusion_pytorch_model') for name in names)


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()
