r"""Saving: nothing is lost, whoever wrote it and whenever a run is killed."""
import json
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.cli import failure, hollow, nothing_changes, prepared
from tests.edits import draw, edit_flags
from wan import jobs
from wan.jobs import edit as edit_job
from wan.jobs import saving
from wan.jobs.origin import changed, read_record, strangers, write_record
from wan.jobs.saving import claim, pending, recover, switching
from wan.utils import record as record_module
from wan.utils import temporary

NAMES = ('x.mp4', 'x_mask.mp4', 'x_sheet.png')


def save_set(folder, text, names=NAMES):
    record = folder / 'x.json'
    with switching(record, [folder / name for name in NAMES]) as new:
        for name in names:
            (new / name).write_text(text + name)
        write_record(new / 'x.json', {'text': text})
    return record


def texts(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


# Whose files they are


def test_a_record_lists_what_was_written(tmp_path):
    record = save_set(tmp_path, 'a')
    assert set(read_record(record)['files']) == set(NAMES)
    outputs = [tmp_path / name for name in NAMES]
    assert changed(record) == [] == strangers(record, outputs)
    (tmp_path / 'x_mask.mp4').write_text('ax_mask.mp5')
    (tmp_path / 'x_sheet.png').unlink()
    assert changed(record) == ['x_mask.mp4', 'x_sheet.png']
    (tmp_path / 'y.mp4').touch()
    assert strangers(record, [*outputs, tmp_path / 'y.mp4']) == [
        tmp_path / 'y.mp4']
    # It is also the record of others, which would be without one.
    assert strangers(record, outputs[:1]) == [record]


@pytest.mark.parametrize('text', (
    '', '{"half', '[]', 'null', '{"files": {"x.mp4": "0"}}', '[' * 100_000,
    '{"files": {}, "digest": 1}', '\xff'))
def test_what_is_no_record_of_ours_lists_nothing(tmp_path, text):
    record = save_set(tmp_path, 'a')
    record.write_text(text, encoding='latin-1')
    assert read_record(record) == {}
    outputs = [tmp_path / name for name in NAMES]
    assert strangers(record, outputs) == [*outputs, record]


def test_a_record_that_was_edited_is_no_longer_ours(tmp_path):
    record = save_set(tmp_path, 'a')
    record.write_text(record.read_text().replace('"text": "a"', '"text": "b"'))
    assert read_record(record) == {}


def edit(shell, media, folder, *flags):
    return prepared(*edit_flags(shell, media, folder / 'x.mp4', *flags))


def stub(job, text='new', names=('x.mp4',)):
    r"""Save small files in place of a video."""

    def write(folder, job, result, progress):
        for name in names:
            (folder / name.replace('x', job.save_file.stem, 1)).write_text(
                result)

    return jobs.save(replace(job, row=replace(job.row, save=write)), text)


@pytest.mark.parametrize('name', (
    'x.mp4', 'x.json', 'x_mask.mp4', 'x_comparison.mp4', 'x_sheet.png'))
def test_files_of_the_users_own_stay(shell, media, tmp_path, capsys, name):
    flags = edit_flags(shell, media, tmp_path / 'x.mp4')
    for own in ('my own', '', '{"arguments": {}}'):
        (tmp_path / name).write_text(own)
        with nothing_changes(tmp_path):
            said = failure(capsys, 2, flags)
        assert str(tmp_path / name) in said and 'setting overwrite' in said
    job = prepared(*flags, '--overwrite')
    assert stub(job).read_text() == 'new'
    assert read_record(tmp_path / 'x.json')['arguments']['overwrite'] is True


def test_own_results_are_replaced_as_long_as_nobody_changed_them(
        shell, media, tmp_path, capsys):
    stub(edit(shell, media, tmp_path), 'one', ('x.mp4', 'x_mask.mp4'))
    stub(edit(shell, media, tmp_path), 'two')
    assert (tmp_path / 'x.mp4').read_text() == 'two'
    assert sorted(texts(tmp_path)) == ['x.json', 'x.mp4']
    (tmp_path / 'x.mp4').write_text('cut by hand')
    with nothing_changes(tmp_path):
        assert 'x.mp4: it is there, and not as' in failure(
            capsys, 2, edit_flags(shell, media, tmp_path / 'x.mp4'))


def test_a_dangling_link_of_the_users_stays(shell, media, tmp_path, capsys):
    (tmp_path / 'x.mp4').symlink_to('away.mp4')
    assert 'it is there' in failure(
        capsys, 2, edit_flags(shell, media, tmp_path / 'x.mp4'))
    assert os.readlink(tmp_path / 'x.mp4') == 'away.mp4'


def test_the_record_of_another_result_stays(shell, media, tmp_path, capsys):
    stub(edit(shell, media, tmp_path))
    with nothing_changes(tmp_path):
        said = failure(
            capsys, 2, edit_flags(shell, media, tmp_path / 'x.mkv'))
    assert 'x.json' in said and 'setting overwrite' in said


@pytest.mark.parametrize('link', (os.link, os.symlink))
@pytest.mark.parametrize('part', (
    'config.json', 'Wan2.1_VAE.json', 'google/umt5-xxl/tokenizer.json',
    'diffusion_pytorch_model.safetensors.index.json'))
def test_no_result_replaces_a_file_of_the_checkpoint(
        checkpoint, media, tmp_path, capsys, part, link):
    r"""Not even with --overwrite, and whatever it is called there."""
    folder = hollow(checkpoint, tmp_path / 'it')
    index = folder / 'diffusion_pytorch_model.safetensors.index.json'
    index.write_text('{"weight_map": '
                     '{"a": "diffusion_pytorch_model.safetensors"}}')
    link(folder / part, tmp_path / 'other.json')
    for target in ((folder / part).with_suffix('.mp4'),
                   tmp_path / 'other.mp4'):
        with nothing_changes(tmp_path):
            assert 'it is an input' in failure(capsys, 2, edit_flags(
                folder, media, target, '--overwrite'))


def test_a_file_that_is_written_first_is_not_the_result_too(
        shell, media, tmp_path, capsys):
    r"""Nor by way of another name of its folder."""
    (tmp_path / 'a').mkdir()
    (tmp_path / 'b').symlink_to('a')
    assert 'it is an input' in failure(capsys, 2, edit_flags(
        shell, media, tmp_path / 'a/x.mp4', '--ref_bank',
        tmp_path / 'b/x_mask.mp4'))


def test_what_appears_while_a_job_runs_stays(shell, media, tmp_path, caplog):
    job = edit(shell, media, tmp_path)
    (tmp_path / 'x_mask.mp4').write_text('my own')
    assert stub(job) == tmp_path / 'x_2.mp4'
    assert 'saving as' in caplog.messages[0]
    assert read_record(tmp_path / 'x_2.json')['arguments']['save_file'] == str(
        tmp_path / 'x_2.mp4')
    assert sorted(texts(tmp_path)) == ['x_2.json', 'x_2.mp4', 'x_mask.mp4']


def test_default_names_of_one_second_do_not_collide(
        shell, media, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        record_module.time, 'strftime', lambda form: '20250102_030405')
    flags = edit_flags(shell, media, '')
    first, second, third = (prepared(*flags) for _ in range(3))
    assert first.save_file == second.save_file
    paths = [stub(first, 'one', ()), stub(second, 'two', ())]
    with claim(Path(third.save_file.stem + '_3.json')):  # by another run
        paths.append(stub(third, 'three', ()))
    stem = first.save_file.stem
    assert [path.stem for path in paths] == [stem, f'{stem}_2', f'{stem}_4']
    assert not list(tmp_path.glob('.*'))


def test_closed_folders_are_told_in_a_sentence(
        shell, media, tmp_path, capsys, monkeypatch):

    def closed(*args):
        raise PermissionError(13, 'Permission denied', 'closed/clip.mp4')

    monkeypatch.setattr(edit_job, 'probe', closed)
    assert failure(capsys, 2, edit_flags(shell, media, tmp_path / 'x.mp4')
                   ) == 'Cannot use closed/clip.mp4: Permission denied.'


@pytest.mark.skipif(os.name == 'nt', reason='of names as bytes')
def test_names_that_are_not_utf8_are_kept(shell, media, tmp_path, capsys):
    photo = os.fsdecode(os.fsencode(tmp_path) + b'/M\xfcnchen.png')
    draw().save(photo)
    job = edit(shell, media, tmp_path, '--target_image', photo)
    stub(job)
    kept = read_record(tmp_path / 'x.json')
    assert kept['arguments']['target_image'] == [photo]
    assert changed(tmp_path / 'x.json') == []
    odd = os.fsdecode(b'M\xfcnchen')
    assert failure(capsys, 2, edit_flags(
        shell, media, tmp_path / 'y.mp4', '--target_prompt', odd)
    ) == 'target_prompt is not text in UTF-8.'


# The switch


def test_a_claim_is_for_one_run_and_dies_with_it(tmp_path, monkeypatch):
    record = tmp_path / 'x.json'
    with claim(record) as mine, claim(record) as second:
        assert mine and not second
    with claim(record) as again:
        assert again
        monkeypatch.setattr(
            temporary.psutil, 'pid_exists', lambda number: False)
        with claim(record) as mine:
            assert mine
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('old', (True, False))
@pytest.mark.parametrize('fails', ('x.json', 'x_mask.mp4', 'x.mp4'))
def test_a_rename_that_fails_leaves_no_mixture(
        tmp_path, monkeypatch, old, fails):
    if old:
        save_set(tmp_path, 'old', NAMES[:2])
    before = texts(tmp_path)

    def refuse(source, target, original=os.replace):
        if Path(target).name == fails:
            raise PermissionError(1, 'Operation not permitted', str(target))
        original(source, target)

    monkeypatch.setattr(os, 'replace', refuse)
    with pytest.raises(PermissionError):
        save_set(tmp_path, 'new')
    assert texts(tmp_path) == before
    monkeypatch.undo()
    save_set(tmp_path, 'new', NAMES[:1])
    assert sorted(texts(tmp_path)) == ['x.json', 'x.mp4']
    assert (tmp_path / 'x.mp4').read_text() == 'newx.mp4'


def killed_while_saving(folder, steps):
    r"""Whether a process that is killed after so many steps got so far."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == signal.SIGKILL
    left = steps

    def step(original, *args, **more):
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **more)

    for name in ('rename', 'replace', 'unlink', 'rmdir'):
        setattr(os, name, partial(step, getattr(os, name)))
    try:
        save_set(folder, 'new', ('x.mp4', 'x_sheet.png'))
    finally:
        os._exit(0)


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_killed_at_any_step_leaves_the_old_set_or_the_new(tmp_path):
    seen = []
    for steps in range(16):
        folder = tmp_path / str(steps)
        folder.mkdir()
        save_set(folder, 'old', NAMES[:2])
        old = texts(folder)
        killed = killed_while_saving(folder, steps)
        recover(folder / 'x.json')
        temporary.clear(folder)
        found = texts(folder)
        if found == old:
            seen.append('old')
        else:
            assert json.loads(found['x.json'])['text'] == 'new'
            assert set(found) == {'x.mp4', 'x_sheet.png', 'x.json'}
            assert changed(folder / 'x.json') == []
            seen.append('new' if killed else 'whole')
    assert seen == sorted(seen, key=('old', 'new', 'whole').index)
    assert [x in seen for x in ('old', 'new', 'whole')] == [True] * 3, seen


def test_a_switch_that_was_decided_is_ended_by_the_next_run(
        shell, media, tmp_path, monkeypatch):
    stub(edit(shell, media, tmp_path), 'old')
    with monkeypatch.context() as patch:
        patch.setattr(saving, '_end', lambda folder: None)  # as if killed
        stub(edit(shell, media, tmp_path), 'new')
    assert pending(tmp_path / 'x.json').is_dir()
    with nothing_changes(tmp_path):
        job = edit(shell, media, tmp_path)
    recover(job.record_file)
    assert (tmp_path / 'x.mp4').read_text() == 'new'
    assert stub(job, 'newest').read_text() == 'newest'
    assert sorted(texts(tmp_path)) == ['x.json', 'x.mp4']


def test_what_was_cut_short_is_ended_by_a_run_of_any_name(
        tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(saving, '_end', lambda folder: None)  # as if killed
        record = save_set(tmp_path, 'new')
    other = tmp_path / 'y.json'
    with switching(other) as new:
        write_record(new / 'y.json', {})
    assert pending(record).is_dir()  # its process is alive: this one
    monkeypatch.setattr(
        saving, 'is_alive', lambda name: False)
    with switching(other) as new:
        write_record(new / 'y.json', {})
    assert sorted(texts(tmp_path)) == sorted(['x.json', 'y.json', *NAMES])


def test_what_was_undone_by_half_is_undone_by_the_next_run(
        tmp_path, monkeypatch):
    record = save_set(tmp_path, 'old', NAMES[:2])
    before = texts(tmp_path)

    def refuse(source, target, original=os.replace):
        if Path(target).name == 'x_sheet.png' or Path(
                source).parent.name == 'old':
            raise PermissionError(1, 'Operation not permitted', str(target))
        original(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, 'replace', refuse)
        with pytest.raises(PermissionError):
            save_set(tmp_path, 'new')
    recover(record)
    assert texts(tmp_path) == before


def test_only_what_dead_processes_left_is_cleared(tmp_path):
    alive = temporary.temporary_name()
    dead = alive.replace(f'-{os.getpid()}-', '-99999999-')
    own = '.wan-notes.txt'
    (tmp_path / '.wan-dead.lock').symlink_to(dead)
    (tmp_path / '.wan-alive.lock').symlink_to(alive)
    for name in (dead + '.png', alive + '.png', own):
        (tmp_path / name).touch()
    (tmp_path / dead / 'new').mkdir(parents=True)
    (tmp_path / dead / 'new' / 'x.mp4').touch()
    temporary.clear(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(
        [alive + '.png', own, '.wan-alive.lock'])
    draw().save(tmp_path / 'kept.png')
    temporary.clear(tmp_path / 'absent')
