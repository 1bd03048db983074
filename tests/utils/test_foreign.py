r"""Files and folders that are closed, endless, or something else."""
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from tests.utils.weights import (
    CONFIG,
    DIT,
    LFS,
    PARTS,
    T5,
    VAE,
    refused,
    state,
    write,
)
from wan.modules.model import WanModel
from wan.modules.t5 import T5EncoderModel
from wan.modules.tokenizers import HuggingfaceTokenizer
from wan.modules.vae import WanVAE
from wan.utils.checkpoint import (
    check_checkpoint,
    find_weights,
    fingerprint,
    read_weights,
)


@pytest.fixture(params=('.pth', '.safetensors'))
def file(request, tmp_path):
    return tmp_path / f'weights{request.param}'


@pytest.fixture
def copy(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / 'copy')


@pytest.mark.parametrize('content, told', (
    (LFS, 'a Git LFS pointer, not the file it stands for'),
    (LFS.replace(b'git-lfs.github', b'hawser.github'), 'a Git LFS pointer'),
    (b'', 'empty'),
    (b'<!DOCTYPE html>\n<html>', 'a web page or XML'),
    (b'\n  <?xml version="1.0"?>', 'a web page or XML'),
    (b'Entry not found', 'text, not weights'),
    (b'{"error": "gated"}', 'text, not weights'),
    (b'GGUF\3\0\0\0\0', 'a GGUF file'),
    (b'\x1f\x8b\x08\0\0', 'a gzip archive'),
    (b'\0' * 257 + b'ustar\0', 'a tar archive'),
    (b'\x89HDF\r\n', 'an HDF5 file'),
    (b'\0\0\0\x20ftypisom', 'a video'),
    (b'\x89PNG\r\n', 'a picture'),
))
def test_other_files_of_that_name(file, content, told):
    file.write_bytes(content)
    for call in (find_weights, read_weights):
        said = refused(call, file)
        assert said.startswith(f'Cannot read {file}: it is {told}')


def test_renamed_weights_are_told_their_name(tmp_path):
    write(tmp_path / 'a.pth', state()).rename(tmp_path / 'b.safetensors')
    assert 'let it end in .pth' in refused(
        read_weights, tmp_path / 'b.safetensors')
    write(tmp_path / 'a.safetensors', state()).rename(tmp_path / 'c.pth')
    assert 'let it end in .safetensors' in refused(
        find_weights, tmp_path / 'c.pth')
    torch.save(state(), tmp_path / 'old.pth',
               _use_new_zipfile_serialization=False)
    assert 'a bare pickle' in refused(read_weights, tmp_path / 'old.pth')


@pytest.mark.parametrize('make, told', (
    (os.mkfifo, 'is a pipe, not a file'),
    (lambda p: p.symlink_to('/dev/zero'), 'is a device, not a file'),
    (os.mkdir, 'is a folder, not a file'),
    (lambda p: p.symlink_to('nowhere'), 'is a link to nowhere, which is not'),
    (lambda p: p.symlink_to(p.name), 'levels of symbolic links'),
))
@pytest.mark.parametrize('name', PARTS)
def test_what_is_no_file_is_told_at_once(copy, name, make, told):
    (copy / name).unlink()
    make(copy / name)
    said = refused(check_checkpoint, copy, CONFIG)
    assert str(copy / name) in said and told in said


def test_sidecars_and_tokenizer_files_too(copy):
    for name in (f'{Path(VAE).stem}.json', f'{Path(T5).stem}.json',
                 f'{CONFIG.t5_tokenizer}/tokenizer_config.json'):
        path = copy / name
        kept = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        assert f'{path} is a pipe' in refused(check_checkpoint, copy, CONFIG)
        path.unlink()
        path.write_bytes(kept)
    check_checkpoint(copy, CONFIG)


@pytest.mark.parametrize('name', PARTS)
def test_what_may_not_be_read_is_told_at_once(copy, name, monkeypatch):
    original = os.open

    def guarded(path, *args, **kwargs):
        if Path(path) == copy / name:
            raise PermissionError(13, 'Permission denied', str(path))
        return original(path, *args, **kwargs)

    monkeypatch.setattr(os, 'open', guarded)
    assert f'Cannot read {copy / name}: Permission denied.' in refused(
        check_checkpoint, copy, CONFIG)


def test_closed_folders(copy, monkeypatch):
    listdir = os.listdir

    def guarded(path='.'):
        if Path(path) == copy:
            raise PermissionError(13, 'Permission denied', str(path))
        return listdir(path)

    monkeypatch.setattr(os, 'listdir', guarded)
    assert refused(check_checkpoint, copy, CONFIG) == (
        f'Checkpoint folder {copy} cannot be read: Permission denied.')


def test_a_tokenizer_behind_a_git_lfs_pointer(copy):
    path = copy / CONFIG.t5_tokenizer / 'tokenizer.json'
    path.write_bytes(LFS)
    said = refused(check_checkpoint, copy, CONFIG)
    assert f'Cannot read {path}: it is a Git LFS pointer' in said
    assert 'Git LFS' in refused(HuggingfaceTokenizer, path.parent)


@pytest.mark.parametrize('text', (
    '{', '[]', '{}', '{"model": 3}', '[' * 10**5, '"a"',
    '{"model": {"type": "BPE", "vocab": [], "merges": {}}}'))
def test_a_damaged_tokenizer(copy, text):
    folder = copy / CONFIG.t5_tokenizer
    (folder / 'tokenizer.json').write_text(text)
    assert 'No tokenizer.json at' in refused(HuggingfaceTokenizer, folder)


# Folders


def test_a_transformer_of_another_name(copy):
    other = copy / 'wan2.1_t2v_1.3B_bf16.safetensors'
    (copy / DIT).rename(other)
    assert refused(check_checkpoint, copy, CONFIG) == (
        f'No weights at {copy / DIT}; if {other.name} beside it holds a '
        f'transformer of Wan2.1, give it that name.')
    shard = other.rename(copy / DIT.replace('.', '-00001-of-00002.'))
    assert f'such as {shard.name}, lack their {DIT}.index.json.' in refused(
        check_checkpoint, copy, CONFIG)


def test_a_hubs_snapshot_is_a_checkpoint(checkpoint, tmp_path):
    r"""Its files are links to others that lie side by side under hashes."""
    cache = tmp_path / 'models--Wan-AI--Wan2.1-T2V-1.3B'
    snapshot = cache / 'snapshots' / '0123abc'
    (cache / 'blobs').mkdir(parents=True)
    (cache / 'refs').mkdir()
    (cache / 'refs/main').write_text('0123abc')
    for number, path in enumerate(sorted(checkpoint.rglob('*'))):
        if path.is_file():
            blob = cache / 'blobs' / f'{number:064x}'
            shutil.copy(path, blob)
            link = snapshot / path.relative_to(checkpoint)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
    check_checkpoint(snapshot, CONFIG)
    loaded, plain = map(WanModel.from_pretrained, (snapshot, checkpoint))
    assert all(map(torch.equal, loaded.parameters(), plain.parameters()))
    assert loaded.made_of == plain.made_of
    WanVAE(vae_pth=find_weights(snapshot / VAE), device='cpu')
    T5EncoderModel(8, torch.float32, 'cpu', find_weights(snapshot / T5),
                   snapshot / CONFIG.t5_tokenizer)
    for folder in (cache, cache / 'snapshots'):
        assert f'the cache of a hub; its files are in {snapshot}.' in refused(
            check_checkpoint, folder, CONFIG)
    assert 'folder below snapshots/ of one model' in refused(
        check_checkpoint, tmp_path, CONFIG)
    (cache / 'blobs' / os.path.basename(
        os.readlink(snapshot / VAE))).unlink()
    said = refused(check_checkpoint, snapshot, CONFIG)
    assert f'{snapshot / VAE} is a link to' in said


@pytest.mark.parametrize('names, told', (
    (('model_index.json', 'transformer/config.json', 'vae/config.json'),
     'is in the layout of diffusers'),
    (('high_noise_model/config.json', 'low_noise_model/config.json', VAE),
     'is of Wan2.2, with two transformers'),
    (('config.json', 'Wan2.2_VAE.pth', T5), 'is of Wan2.2, with another VAE'),
    (('split_files/diffusion_models/wan2.1.safetensors',), 'of ComfyUI'),
    (('Wan2.1-T2V-1.3B/config.json', f'Wan2.1-T2V-1.3B/{DIT}'),
     'is the folder above one: '),
    (('models--Wan-AI--Wan2.1-T2V-14B/refs/main',), 'is the cache of a hub'),
    (('snapshots/',), 'cache of a hub without any files'),
))
def test_other_layouts_are_named(tmp_path, names, told):
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith('/'):
            path.mkdir()
        else:
            write(path, state()) if name == T5 else path.write_text('{}')
    assert told in refused(check_checkpoint, tmp_path, CONFIG)


@pytest.mark.parametrize('name', ('a\0b', '\ud800', 'x' * 300))
def test_an_index_of_impossible_names(copy, name):
    (copy / f'{DIT}.index.json').write_text(json.dumps(
        {'weight_map': {'head.modulation': name}}))
    said = refused(check_checkpoint, copy, CONFIG)
    assert ascii(name)[1:-1] in said


def test_a_fingerprint_tells_other_files(tmp_path):
    first = write(tmp_path / 'a.safetensors', state())
    same = fingerprint([first])
    assert same == fingerprint([first]) != fingerprint([first, first])
    tensors = state()
    tensors['steps'] += 1
    assert fingerprint([write(first, tensors)]) != same
    assert 'is a folder' in refused(fingerprint, [tmp_path])
