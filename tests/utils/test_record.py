r"""Names, records, and files that are whole or absent."""
import json
import os
import sys
from pathlib import Path

import pytest
import torch

from wan.utils import record as record_module
from wan.utils.record import (
    SLUG_LENGTH,
    RunRecord,
    atomic_write,
    check_writable,
    default_save_path,
    peak_memory,
    slug,
    versions,
)


@pytest.mark.parametrize('text,want', [
    ('A silver watch, on a marble table!', 'a-silver-watch-on-a-marble-table'),
    ('  a/b\\c:d*e?f"g<h>i|j\n\tk  ', 'a-b-c-d-e-f-g-h-i-j-k'),
    ('一只银色的手表，在大理石桌上', '一只银色的手表-在大理石桌上'),
    ('Café Ünïcode ﬁne', 'café-ünïcode-fine'),
    ('हिन्दी शब्द', 'हिन्दी-शब्द'),
    ('🎉🎉', 'untitled'), ('', 'untitled'), ('../../etc/passwd', 'etc-passwd'),
])
def test_slug(text, want):
    assert slug(text) == want


def test_slug_is_cut_between_words():
    cut = slug('word ' * 40)
    assert cut == '-'.join(['word'] * 8) and len(cut) <= SLUG_LENGTH
    assert len(slug('x' * 400)) == SLUG_LENGTH
    exact = 'a' * (SLUG_LENGTH - 2) + ' b tail'
    assert slug(exact) == 'a' * (SLUG_LENGTH - 2) + '-b'


def test_default_name(tmp_path, monkeypatch):
    monkeypatch.setattr(record_module.time, 'strftime',
                        lambda form: '20250102_030405')
    path = default_save_path('t2v-1.3B', (832, 480), 42, 'Two cats *box*',
                             '.mp4', tmp_path)
    assert path == tmp_path / (
        't2v-1.3B_832x480_42_two-cats-box_20250102_030405.mp4')
    for number in (2, 3):
        path.write_bytes(b'')
        path = default_save_path('t2v-1.3B', (832, 480), 42, 'Two cats *box*',
                                 '.mp4', tmp_path)
        assert path.stem.endswith(f'_030405_{number}')
        assert not path.exists()


def test_default_name_is_legal_everywhere(tmp_path):
    name = default_save_path('a*b', (1, 1), 2**64, '\U00020000' * 300, '.png',
                             tmp_path).name
    assert not set(name) & set('<>:"/\\|?* \n')
    assert len(name.encode()) < 250
    check_writable(tmp_path / name)


def test_atomic_write(tmp_path):
    target = tmp_path / 'new' / 'a.json'
    with atomic_write(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == '.json' and temporary != target
        temporary.write_text('one')
        assert not target.exists()
    assert target.read_text() == 'one'
    assert os.listdir(target.parent) == ['a.json']


@pytest.mark.parametrize('error', [KeyboardInterrupt, OSError, SystemExit])
@pytest.mark.parametrize('begun', [True, False])
def test_failed_write_leaves_the_old_file(tmp_path, error, begun):
    target = tmp_path / 'a.txt'
    target.write_text('old')
    with pytest.raises(error), atomic_write(target) as temporary:
        if begun:
            temporary.write_text('half')
        raise error
    assert target.read_text() == 'old'
    assert os.listdir(tmp_path) == ['a.txt']


def test_target_that_is_a_folder_is_left_alone(tmp_path):
    (tmp_path / 'a.txt').mkdir()
    with pytest.raises(OSError), atomic_write(tmp_path / 'a.txt') as temporary:
        temporary.write_text('x')
    assert os.listdir(tmp_path) == ['a.txt']


def test_check_writable(tmp_path):
    check_writable(tmp_path / 'not' / 'there' / 'yet' / 'a.mp4', ('.mp4',), 10)
    check_writable('a.MP4', ('.mp4', '.mov'))
    assert os.listdir(tmp_path) == []
    (tmp_path / 'file').write_text('x')
    for path, extra, words in (
        (tmp_path / 'a.webm', {'suffixes': ('.mp4', '.mov')}, '.mp4, .mov'),
        (tmp_path, {}, 'folder of that name'),
        (tmp_path / 'file' / 'a.mp4', {}, 'not a folder that may be written'),
        (tmp_path / ('x' * 300), {}, 'has 300 bytes, at most 255'),
        (tmp_path / 'a.mp4', {'needed_bytes': 10**18}, 'MB are needed'),
    ):
        with pytest.raises(ValueError, match=words):
            check_writable(path, **extra)


@pytest.mark.skipif(os.name == 'nt' or os.geteuid() == 0,
                    reason='root may write everywhere')
def test_check_writable_without_rights(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match='may be written'):
        check_writable(tmp_path / 'a.mp4')
    tmp_path.chmod(0o700)


@pytest.mark.skipif(os.name == 'nt', reason='of users')
def test_a_file_that_may_not_be_replaced(tmp_path, monkeypatch):
    path, access = tmp_path / 'a.mp4', os.access
    path.touch()
    check_writable(path)
    path.chmod(0o400)
    check_writable(path)  # its folder decides
    path.chmod(0o600)
    monkeypatch.setattr(  # as an immutable file is
        os, 'access', lambda name, mode: name != path and access(name, mode))
    with pytest.raises(ValueError, match='there may not be replaced'):
        check_writable(path)
    monkeypatch.undo()
    tmp_path.chmod(0o1777)
    check_writable(path)
    monkeypatch.setattr(os, 'geteuid', lambda: 12345)
    with pytest.raises(ValueError, match='there may not be replaced'):
        check_writable(path)


@pytest.mark.parametrize('path, words', (
    (Path('a' * 300, 'x.mp4'), 'has 300 bytes, at most 255'),
    (Path(*['folder'] * 600, 'x.mp4'), 'bytes, at most 3500 are allowed')))
def test_paths_that_are_too_long(tmp_path, path, words):
    with pytest.raises(ValueError, match=words):
        check_writable(tmp_path / path)


def test_unwritable_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'access', lambda *args: False)
    with pytest.raises(ValueError, match='may be written'):
        check_writable(tmp_path / 'a.mp4')


def test_record(tmp_path):
    record = RunRecord({
        'task': 'pvtt', 'size': (832, 480), 'ckpt_dir': Path('some/where'),
        'dtype': torch.bfloat16, 'prompt': 'é', 'c': 0.2, 'mask': None}, 7)
    record.stages = {'encode text': 1.5, 'denoise': 2.2504}
    record.results['psnr'] = float('inf')
    saved = json.loads(json.dumps(record.as_dict(), allow_nan=False))
    assert saved['seed'] == 7
    assert saved['arguments'] == {
        'task': 'pvtt', 'size': [832, 480], 'ckpt_dir': str(Path('some/where')),
        'dtype': 'torch.bfloat16', 'prompt': 'é', 'c': 0.2, 'mask': None}
    assert saved['seconds'] == {'encode text': 1.5, 'denoise': 2.25}
    assert saved['results'] == {'psnr': 'inf'}
    assert saved['versions']['torch'] == torch.__version__
    assert saved['peak_memory_bytes']['host'] > 50e6


def test_metadata_is_the_record():
    record = RunRecord({'prompt': 'é\n'}, 3)
    (key, text), = record.as_metadata().items()
    assert key == 'comment'
    embedded = json.loads(text)
    assert embedded['arguments'] == {'prompt': 'é\n'} and embedded['seed'] == 3
    assert embedded.keys() == record.as_dict().keys()


def test_versions_and_memory():
    found = versions()
    assert found['python'] == sys.version.split()[0]
    assert found['diffusers'] and found['transformers'] and found['cpu']
    assert set(found) >= {'wan', 'cuda', 'gpu'}
    before = peak_memory()['host']
    block = torch.ones(30_000_000)
    assert peak_memory()['host'] >= before
    assert peak_memory()['host'] > block.nbytes
