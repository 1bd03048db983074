r"""Many experiments: grids, resuming, failures, interruption, the results."""
import csv
import dataclasses
import json
import os
import re
import shutil
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from PIL import Image

import run_experiments
from tests.cli import nothing_changes
from tests.utils.media import make_clip
from tools.random_checkpoint import make_checkpoint
from wan import jobs
from wan.experiments import batch, report
from wan.experiments.experiment import Experiment
from wan.experiments.report import write_report
from wan.jobs import origin, saving
from wan.utils import sources, temporary
from wan.utils.image import read_image


@pytest.fixture(scope='session')
def material(tmp_path_factory):
    r"""A checkpoint, a template and a photo that no test changes."""
    folder = tmp_path_factory.mktemp('material')
    make_checkpoint(folder / 'checkpoint')
    make_clip(folder / 'clip.mp4', source='testsrc=s=128x128:r=16:d=0.32')
    Image.new('RGB', (64, 64), 'teal').save(folder / 'photo.png')
    return folder


@pytest.fixture
def place(material, tmp_path, monkeypatch):
    r"""A working directory with a copy of all that."""
    shutil.copytree(material, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    experiment(tmp_path / 'a.yaml')
    return tmp_path


def experiment(path, video='clip.mp4', prompt='a red bag', **flowalign):
    path.write_text(json.dumps({
        'video': {'video_path': video, 'target_image': 'photo.png',
                  'source_prompt': 'a blue bag', 'target_prompt': prompt},
        'flowalign': {'sample_steps': 2, **flowalign}}))


def run(*argv):
    return run_experiments.main([
        *argv, '--ckpt_dir', 'checkpoint', '--out', 'out', '--device', 'cpu',
        '--dtype', 'float32'])


def table(place):
    with open(place / 'out/results.csv', newline='') as file:
        return {row['name']: row for row in csv.DictReader(file)}


def statuses(place):
    return {name: row['status'] for name, row in table(place).items()}


class Runs(list):
    r"""Stands in for the model: keeps the names of what was run."""

    bad = {}
    more = None

    def load(self, job):
        self.append('load')
        return self

    def execute(self, job, pipe):
        name = job.save_file.parent.name
        if name in self.bad:
            raise self.bad[name]
        self.append(name)
        job.record.stages = {'edit': 1.0}
        job.record.results = {'metrics': {'psnr': 20 + len(self)}}
        return save(job, name, self.more)


def save(job, text, more=None):
    r"""Save a text in place of a video."""

    def write(folder, job, result, progress):
        (folder / job.save_file.name).write_text(result)
        if more:
            more(folder)

    row = dataclasses.replace(job.row, save=write)
    return jobs.save(dataclasses.replace(job, row=row), text)


@pytest.fixture
def runs(monkeypatch):
    runs = Runs()
    monkeypatch.setattr(jobs, 'load', runs.load)
    monkeypatch.setattr(jobs, 'execute', runs.execute)
    return runs


def test_a_grid_runs_on_one_model_and_only_once(place, monkeypatch):
    loaded, forwards = [], []

    def load(job, original=jobs.load):
        loaded.append(original(job))
        loaded[-1].model.register_forward_hook(
            lambda *_: forwards.append(1))
        return loaded[-1]

    monkeypatch.setattr(jobs, 'load', load)
    sweep = ('a.yaml', '--sweep', 'ref_c=0,0.2')
    assert run(*sweep) == 0
    assert len(loaded) == 1
    assert statuses(place) == {'a__ref_c=0': 'done', 'a__ref_c=0.2': 'done'}
    for name, row in table(place).items():
        folder = place / 'out' / name
        assert float(row['seconds']) > 0
        assert 'load' not in json.loads(
            (folder / 'result.json').read_text())['seconds']
        assert 0 < float(row['share']) <= 1
        assert read_image(folder / 'result_sheet.png').width > 900
    videos = sorted(place.glob('out/*/result.mp4'))
    assert videos[0].read_bytes() != videos[1].read_bytes()

    times = [video.stat().st_mtime_ns for video in videos]
    done = len(forwards)
    assert done > 0
    assert run(*sweep) == 0
    assert (len(loaded), len(forwards)) == (1, done)
    assert [video.stat().st_mtime_ns for video in videos] == times
    page = (place / 'out/index.html').read_text()
    assert page.count('src="data:image/webp;base64,') == 2
    assert len(page) < 2 * 150_000


def test_what_a_result_depends_on_makes_it_run_again(place, runs):
    assert run('a.yaml') == 0
    assert run('a.yaml') == 0
    assert runs == ['load', 'a']
    runs.clear()

    def again(*flags):
        run('a.yaml', *flags)
        ran, runs[:] = 'a' in runs, []
        return ran

    assert again('--strength=1')
    assert not again('--strength', '1.0')
    assert again('--base_seed=3')
    assert again()
    Image.new('RGB', (64, 64), 'red').save(place / 'photo.png')
    assert again()
    (place / 'photo.png').rename(place / 'other.png')
    assert not again('--target_image=other.png')
    (place / 'other.png').rename(place / 'photo.png')
    (place / 'checkpoint').rename(place / 'moved')
    (place / 'checkpoint').symlink_to('moved')
    assert not again()
    make_checkpoint(place / 'moved', seed=1)
    assert again()
    assert not again('--offload_model=true')
    (place / 'out/a/result.mp4').unlink()
    assert again()
    # Without its record nobody knows whose the result is.
    (place / 'out/a/result.json').write_text('{"half')
    assert not again()
    assert again('--overwrite')
    assert not again()


def test_a_changed_program_makes_it_run_again(place, runs, monkeypatch):
    folder = place / 'wan'
    shutil.copytree(sources.ROOT, folder, ignore=shutil.ignore_patterns(
        '__pycache__', 'synth'))
    monkeypatch.setattr(sources, 'ROOT', folder)

    def again(file, text):
        with open(folder / file, 'a') as source:
            source.write(text)
        sources.source_digest.cache_clear()
        run('a.yaml')
        ran, runs[:] = 'a' in runs, []
        return ran

    assert again('flowalign.py', '')
    assert not again('utils/record.py', '# another room')
    assert again('flowalign.py', 'NEW = 1')
    assert again('refdrop/blend.py', 'NEW = 1')
    sources.source_digest.cache_clear()


def test_what_cannot_be_read_fails_alone(place, runs, monkeypatch):
    experiment(place / 'b.yaml')

    def prepare(*args, original=jobs.prepare):
        if 'out/b/' in args[2]['save_file']:
            raise OSError(5, 'Input/output error')
        return original(*args)

    monkeypatch.setattr(jobs, 'prepare', prepare)
    assert run('a.yaml', 'b.yaml') == 1
    assert runs == ['load', 'a']
    assert statuses(place) == {'a': 'done', 'b': 'failed'}
    assert table(place)['b']['error'].startswith('OSError: [Errno 5]')


def test_an_old_result_is_kept_apart_from_a_new_one(place, runs):
    run('a.yaml')
    runs.clear()
    runs.bad = {'a': RuntimeError('no memory')}
    assert run('a.yaml', '--strength=1') == 1
    page = (place / 'out/index.html').read_text()
    assert 'no memory' in page and 'a/result.mp4' not in page
    runs.bad = {}
    assert run('a.yaml', '--base_seed=1', '--dry_run') == 0
    assert run('a.yaml', '--strength=1') == 0
    assert runs == ['load', 'load', 'a']


def test_failures_do_not_stop_the_rest(place, runs, capsys):
    experiment(place / 'b.yaml', video='absent.mp4')
    (place / 'c.yaml').write_text('video: {video_pth: x}')
    experiment(place / 'd.yaml', sample_steps='many')
    for name in 'ef':
        experiment(place / f'{name}.yaml')
    runs.bad = {'e': FloatingPointError('the edit\nis nan')}
    assert run(*(f'{name}.yaml' for name in 'abcdef')) == 1
    assert runs == ['load', 'a', 'f']
    rows = table(place)
    assert ''.join(statuses(place)) == 'abcdef'
    assert [row['status'] for row in rows.values()] == [
        'done', 'failed', 'failed', 'failed', 'failed', 'done']
    assert rows['b']['error'] == 'absent.mp4 is not an existing file.'
    assert "did you mean 'video_path'" in rows['c']['error']
    assert "sample_steps is 'many', expected a whole" in rows['d']['error']
    assert rows['e']['error'] == 'FloatingPointError: the edit is nan'
    assert 'in execute' in (place / 'out/e/error.log').read_text()
    page = (place / 'out/index.html').read_text()
    assert 'FloatingPointError: the edit is nan' in page
    assert 'href="e/error.log"' in page

    runs.bad = {}
    runs.clear()
    assert run('a.yaml', 'e.yaml') == 0
    assert runs == ['load', 'e']
    assert 'error.log' not in (place / 'out/index.html').read_text()


def test_the_second_one_is_told_what_is_left(
        place, runs, caplog, monkeypatch):
    caplog.set_level('INFO')
    monkeypatch.setattr(batch, 'time', SimpleNamespace(
        monotonic=lambda: 90 * len([name for name in runs if name != 'load'])))
    run('a.yaml', '--sweep', 'ref_c=0,0.1,0.2')
    told = [m for m in caplog.messages if m.startswith('Experiment ')]
    assert told == [
        'Experiment 1 of 3: a__ref_c=0',
        'Experiment 2 of 3 (about 3 min left): a__ref_c=0.1',
        'Experiment 3 of 3 (about 2 min left): a__ref_c=0.2']


def test_interruption_keeps_what_is_finished(place, runs, capsys):
    runs.bad = {'a__ref_c=0.1': KeyboardInterrupt()}
    sweep = ('a.yaml', '--sweep', 'ref_c=0,0.1,0.2')
    assert run(*sweep) == 130
    assert 'what is finished stays' in capsys.readouterr().err
    assert list(statuses(place).values()) == ['done', 'waiting', 'waiting']
    assert '1 done, 2 waiting' in (place / 'out/index.html').read_text()
    assert not list(place.glob('out/**/.*'))
    runs.bad = {}
    runs.clear()
    assert run(*sweep) == 0
    assert runs == ['load', 'a__ref_c=0.1', 'a__ref_c=0.2']
    assert set(statuses(place).values()) == {'done'}


@pytest.mark.parametrize(('flags', 'told'), [
    (['--sweep', 'ref_cc=1'], "did you mean 'ref_c'"),
    (['--src_video=absent.mp4'], 'absent.mp4 is not an existing file.'),
    (['--base_seed=-1'], 'base_seed -1 draws another seed each time'),
    (['--task=t2v-14B'], "invalid choice: 't2v-14B'"),
    (['--save_file=x.mp4'], 'save_file is not for experiments'),
    (['--config=a.yaml'], 'unrecognized arguments: --config=a.yaml'),
    (['--sample_solver=euler'], 'unrecognized arguments: --sample_solver'),
    (['--out=a.yaml'], 'is not a folder'),
    (['a.yaml'], "would both be named 'a'"),
    (['--ckpt_dir=nowhere'], 'Checkpoint folder nowhere is not a folder.'),
])
def test_bad_commands_write_nothing(place, runs, capsys, flags, told):
    # The flags of the test come last, those of `run` before them.
    status = run_experiments.main([
        'a.yaml', '--ckpt_dir', 'checkpoint', '--out', 'out', *flags])
    assert status == 2
    error = capsys.readouterr().err
    assert error.startswith('run_experiments.py: error: ')
    assert told in error and len(error.splitlines()) == 1
    assert runs == []
    assert not (place / 'out').exists()


def test_broken_weights_stop_at_once(place, capsys):
    path = place / 'checkpoint/diffusion_pytorch_model.safetensors'
    path.write_bytes(path.read_bytes()[:1000])
    assert run('a.yaml') == 2
    assert 'Cannot read' in capsys.readouterr().err
    assert statuses(place) == {'a': 'waiting'}


def test_a_dry_run_prints_plans_and_writes_nothing(place, runs, capsys):
    assert run('a.yaml', '--sweep', 'ref_c=0,0.1', '--dry_run') == 0
    shown = capsys.readouterr().out
    assert 'a__ref_c=0.1: waiting' in shown
    assert 'out/a__ref_c=0.1/result.mp4' in shown
    assert runs == [] and not (place / 'out').exists()


def test_the_csv_has_a_row_a_job_and_what_differs(place, runs):
    experiment(place / 'b,"ü.yaml', prompt='a "green", bag\nof glass')
    run('a.yaml', 'b,"ü.yaml', '--sweep', 'ref_c=0,0.5')
    rows = list(table(place).values())
    assert list(rows[0]) == [
        'name', 'status', 'seconds', 'target_prompt', 'ref_c', 'psnr',
        'error']
    assert [row['ref_c'] for row in rows] == ['0', '0.5', '0', '0.5']
    assert rows[2]['target_prompt'] == 'a "green", bag\nof glass'
    assert [float(row['psnr']) for row in rows] == [22, 23, 24, 25]
    assert 'ref_steps</dt> <dd>0-1' in (place / 'out/index.html').read_text()


# Nothing is lost, and nothing bad ends the rest


@pytest.mark.parametrize('name', ('index.html', 'results.csv', 'report.json'))
def test_a_report_of_the_users_own_stays(place, runs, capsys, name):
    (place / 'out').mkdir()
    (place / 'out' / name).write_text('my own')
    with nothing_changes(place / 'out'):
        assert run('a.yaml') == 2
    said = capsys.readouterr().err
    assert f'out/{name}: it is there' in said and 'overwrite' in said
    assert runs == []
    assert run('a.yaml', '--overwrite') == 0
    assert run('a.yaml') == 0
    with open(place / 'out/results.csv', 'a') as file:
        file.write('my notes\n')
    assert run('a.yaml') == 2
    assert (place / 'out/results.csv').read_text().endswith('my notes\n')


def test_no_report_replaces_an_experiment_file(place, runs, capsys):
    (place / 'out').mkdir()
    experiment(place / 'out/report.json')
    assert run('out/report.json', '--overwrite') == 2
    assert 'report.json: it is an input' in capsys.readouterr().err


@pytest.mark.parametrize('name', (
    'result.mp4', 'result.json', 'result_mask.mp4', 'result_sheet.png'))
def test_results_of_the_users_own_stay(place, runs, name):
    experiment(place / 'b.yaml')
    (place / 'out/a').mkdir(parents=True)
    (place / 'out/a' / name).write_text('my own')
    assert run('a.yaml', 'b.yaml') == 1
    assert statuses(place) == {'a': 'failed', 'b': 'done'}
    assert f'out/a/{name}: it is there' in table(place)['a']['error']
    assert (place / 'out/a' / name).read_text() == 'my own'
    assert run('a.yaml', 'b.yaml', '--overwrite') == 0


@pytest.mark.parametrize('content', (b'', b'garbage', None))
def test_a_damaged_result_is_made_again(place, runs, content):
    assert run('a.yaml') == 0
    path = place / 'out/a/result.mp4'
    whole = path.read_bytes()
    path.write_bytes(content) if content is not None else path.unlink()
    assert run('a.yaml') == 0
    assert runs == ['load', 'a', 'load', 'a']
    assert path.read_bytes() == whole
    assert run('a.yaml') == 0
    assert len(runs) == 4


def test_a_damaged_sheet_is_made_again(place, runs, monkeypatch):
    def sheet(folder):
        (folder / 'result_sheet.png').write_bytes(b'no picture')

    runs.more = sheet
    assert run('a.yaml') == 0
    assert 'is not a readable image' in (place / 'out/index.html').read_text()
    (place / 'out/a/result_sheet.png').write_bytes(b'')
    runs.clear()
    assert run('a.yaml') == 0
    assert runs == ['load', 'a']


def test_a_report_that_fails_stops_nothing(place, runs, monkeypatch, caplog):
    experiment(place / 'b.yaml')

    def full(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(report, 'results_page', full)
    assert run('a.yaml', 'b.yaml') == 0
    assert runs == ['load', 'a', 'b']
    assert 'The report in out could not be written' in caplog.text


def test_what_another_one_writes_is_not_read(place, runs):
    assert run('a.yaml') == 0
    experiment(place / 'b.yaml', video='out/a/result.mp4')
    experiment(place / 'c.yaml')
    shutil.copy(place / 'clip.mp4', place / 'out/a/result.mp4')
    origin.write_record(*rewritten(place / 'out/a/result.json'))
    runs.clear()
    assert run('a.yaml', 'b.yaml', 'c.yaml') == 1
    assert runs == ['load', 'c']
    assert statuses(place) == {'a': 'done', 'b': 'failed', 'c': 'done'}
    assert 'is a result of experiment a' in table(place)['b']['error']
    assert run('b.yaml') == 0


def rewritten(path):
    r"""A record without its digests."""
    record = origin.read_record(path)
    path.unlink()
    return path, {k: v for k, v in record.items() if k != 'files'}


BAD = {
    'bool': 'video: {src_video: !!bool maybe}',
    'int': 'flowalign: {sample_steps: !!int ""}',
    'date': 'flowalign: {seed: !!timestamp soon}',
    'deep': 'video: ' + '[' * 5000,
    'endless': 'video: &a {src_video: *a}',
    'laughs': 'a0: &a0 [x]\n' + ''.join(
        f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]\n'
        for i in range(1, 20)),
    'large': '#' * 2**21,
    'binary': '\0\1',
    'digits': 'flowalign: {sample_steps: ' + '9' * 5000 + '}',
}


def test_no_bad_file_ends_the_batch(place, runs):
    for name, text in BAD.items():
        (place / f'{name}.yaml').write_text(text)
    (place / 'loop.yaml').symlink_to('loop.yaml')
    os.mkfifo(place / 'fifo.yaml')
    (place / 'folder.yaml').mkdir()
    (place / 'zero.yaml').symlink_to('/dev/zero')
    experiment(place / 'steps.yaml', sample_steps=10**12)
    experiment(place / 'guide.yaml', sample_guide_scale=1e39)
    experiment(place / 'layers.yaml', ref_layers='7-999999999')
    experiment(place / 'name.yaml', video='a\0b')
    experiment(place / 'long.yaml', video='a' * 10_000)
    files = ('loop', *BAD, 'fifo', 'folder', 'zero', 'steps', 'guide',
             'layers', 'name', 'long', 'a')
    assert run(*(f'{name}.yaml' for name in files)) == 1
    assert runs == ['load', 'a']
    for name, row in table(place).items():
        assert row['status'] == ('done' if name == 'a' else 'failed'), name
        assert bool(row['error']) == (name != 'a')
        assert 'Error:' not in row['error'], row


def test_a_memory_error_is_that_of_one(place, runs, monkeypatch):
    experiment(place / 'b.yaml', prompt='b')

    def read(path, row, original=run_experiments.read_experiment):
        if path == 'a.yaml':
            raise MemoryError
        return original(path, row)

    monkeypatch.setattr(run_experiments, 'read_experiment', read)
    assert run('a.yaml', 'b.yaml') == 1
    assert statuses(place) == {'a': 'failed', 'b': 'done'}


def test_what_vanishes_after_the_check_fails_alone(place, runs, monkeypatch):
    experiment(place / 'b.yaml')
    shutil.copy(place / 'clip.mp4', place / 'other.mp4')
    experiment(place / 'a.yaml', video='other.mp4')
    original = run_experiments.check

    def check(argv):
        checked = original(argv)
        (place / 'other.mp4').unlink()
        return checked

    monkeypatch.setattr(run_experiments, 'check', check)
    assert run('a.yaml', 'b.yaml') == 1
    assert statuses(place) == {'a': 'failed', 'b': 'done'}


def test_a_dry_run_of_bad_files_writes_nothing(place, runs):
    run('a.yaml')
    (place / 'b.yaml').write_text('nothing')
    with nothing_changes(place / 'out'):
        assert run('a.yaml', 'b.yaml', '--strength=1', '--dry_run') == 1


def test_an_error_log_goes_with_its_error(place, runs):
    runs.bad = {'a': RuntimeError('no memory')}
    assert run('a.yaml') == 1
    log = place / 'out/a/error.log'
    assert 'RuntimeError: no memory' in log.read_text()
    runs.bad = {}
    assert run('a.yaml') == 0
    assert not log.exists()
    log.write_text('my own')
    runs.bad = {'a': RuntimeError('no memory')}
    assert run('a.yaml', '--strength=1') == 1
    assert log.read_text() == 'my own'


def test_a_file_named_like_the_report(place, runs):
    for name in ('index.html', 'results.csv', 'Report.json'):
        experiment(place / f'{name}.yaml')
    assert run('index.html.yaml', 'results.csv.yaml', 'Report.json.yaml') == 0
    assert (place / 'out/index.html').is_file()
    assert len(list(place.glob('out/*/result.mp4'))) == 3


def test_patterns_that_no_shell_expanded(place, runs):
    (place / 'more').mkdir()
    for name in 'xy':
        experiment(place / 'more' / f'{name}.yaml')
    experiment(place / '[z].yaml')
    assert run('more/*.yaml', '[z].yaml') == 0
    assert [row['status'] for row in table(place).values()] == ['done'] * 3
    assert len(runs) == 4
    assert run('none*.yaml') == 2


def test_what_killed_runs_left_is_cleared(place, runs):
    dead = temporary.temporary_name().replace(f'-{os.getpid()}-', '-99999999-')
    for folder in ('out', 'out/a'):
        (place / folder / dead / 'new').mkdir(parents=True)
    assert run('a.yaml') == 0
    assert not list(place.glob('out/**/.*'))


def test_a_saving_that_was_cut_short_is_ended(place, runs, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(saving, '_end', lambda folder: None)  # as if killed
        run('a.yaml')
    assert not (place / 'out/a/result.mp4').exists()
    runs.clear()
    with nothing_changes(place / 'out'):
        assert run('a.yaml', '--dry_run') == 0
    assert run('a.yaml') == 0
    assert runs == []
    assert (place / 'out/a/result.mp4').read_text() == 'a'
    assert statuses(place) == {'a': 'done'}


def test_names_that_are_long_or_not_utf8(place, runs):
    name = '一个装饰着条纹的心形物体' * 4
    odd = os.fsdecode(b'M\xfcnchen')
    for each in (name, odd):
        experiment(place / f'{each}.yaml')
    assert run(f'{name}.yaml', f'{odd}.yaml', '--sweep',
               f'target_prompt={name}') == 0
    assert len(list(place.glob('out/*/result.mp4'))) == 2
    assert len((place / 'out/index.html').read_text()) > 1000


def test_too_many_points_are_refused_before_they_are_made(place, capsys):
    many = ','.join(map(str, range(100)))
    sweeps = [f'--sweep={key}={many}' for key in (
        'seed', 'ref_c', 'strength', 'mask_grow', 'ref_t')]
    assert run('a.yaml', *sweeps) == 2
    assert 'make 10000000000 experiments, allowed are 10000' in \
        capsys.readouterr().err


class Page(HTMLParser):
    r"""Tags and addresses of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.addresses += [v for k, v in attributes if k in ('src', 'href')]


def test_the_page_escapes_everything_and_needs_no_network(tmp_path):
    evil = '<i>&"\'</i><svg onload=x>{0}'
    rows = [
        Experiment(tmp_path / 'a&b#%', 'pvtt', status='done', seconds=1.0,
                   settings={'p': evil, 'shared': 'http:' + evil},
                   metrics={evil: evil}),
        Experiment(tmp_path / "<i>'", 'pvtt', status='failed', error=evil,
                   settings={'p': 1.5, 'shared': 'http:' + evil})]
    rows[0].folder.mkdir()
    Image.new('RGB', (2000, 3000), 'red').save(
        rows[0].folder / 'result_sheet.png')
    (rows[0].folder / 'result.mp4').touch()
    write_report(rows, tmp_path)
    text = (tmp_path / 'index.html').read_text()
    page = Page(text)
    assert not page.tags & {'i', 'svg'}
    assert text.count('&lt;svg onload=x&gt;{0}') >= 4
    assert 'a%26b%23%25/result.mp4' in page.addresses
    assert not [a for a in page.addresses if re.match('http|//|/', a)]
    assert not re.search(r'@import|url\(|<link|fetch\(', text)
