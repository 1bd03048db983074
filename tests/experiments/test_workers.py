r"""Experiments in several processes: the same results, and no fault spreads."""
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing import forkserver
from pathlib import Path

import psutil
import pytest
import torch
from PIL import Image

import run_experiments
from tests.experiments.test_batch import experiment, run, statuses, table
from tests.utils.media import make_clip
from tools.random_checkpoint import make_checkpoint
from wan import jobs
from wan.experiments import worker
from wan.experiments.workers import worker_devices
from wan.utils.temporary import temporary_name
from wan.utils.video import read_video

ROOT = Path(run_experiments.__file__).parent


@pytest.fixture(scope='module')
def material(tmp_path_factory):
    r"""A checkpoint, a template and a photo that no test changes."""
    folder = tmp_path_factory.mktemp('material')
    make_checkpoint(folder / 'checkpoint')
    make_clip(folder / 'clip.mp4', source='testsrc=s=64x64:r=16:d=0.32')
    Image.new('RGB', (64, 64), 'teal').save(folder / 'photo.png')
    return folder


@pytest.fixture
def place(material, tmp_path, monkeypatch):
    r"""A working directory with a copy of all that."""
    shutil.copytree(material, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for name in 'abcd':
        experiment(tmp_path / f'{name}.yaml', prompt=f'a red {name}')
    return tmp_path


@pytest.fixture(scope='module')
def server():
    r"""Starts processes that have everything imported, which saves seconds.

    It has to start where Python finds the tests.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([__name__])
    forkserver.ensure_running()
    return context


@pytest.fixture
def forked(server, monkeypatch):
    r"""Workers from that server."""
    monkeypatch.setattr(worker, 'get_context', lambda name: server)


def frames(video):
    return read_video(video, (64, 64), 16, 5)


def leftovers(place):
    return [*place.glob('out/**/.wan-*'), *multiprocessing.active_children()]


def test_two_workers_give_what_one_gives(place, forked, caplog):
    caplog.set_level('INFO')
    shutil.copy('a.yaml', 'bad.yaml')
    Path('bad.yaml').write_text('video: {src_vide: x}')
    files = ('a.yaml', 'bad.yaml', 'b.yaml', 'c.yaml')
    assert run(*files, '--workers', '2') == 1
    assert statuses(place) == {
        'a': 'done', 'bad': 'failed', 'b': 'done', 'c': 'done'}
    told = [re.sub(r' \(about .* left\)', ' (left)', message)
            for message in caplog.messages if 'Experiment' in message]
    assert [line[:23] for line in told] == [
        'Experiment 1 of 3 (left', 'Experiment 2 of 3 (left',
        'Experiment 3 of 3: c is']
    assert not leftovers(place)

    os.rename('out', 'two')
    assert run('a.yaml', 'b.yaml', 'c.yaml', '--workers', '1') == 0
    for name in 'abc':
        assert torch.equal(frames(f'two/{name}/result.mp4'),
                           frames(f'out/{name}/result.mp4'))
        first, second = (json.loads(Path(
            f'{out}/{name}/result.json').read_text())['arguments']
            for out in ('two', 'out'))
        assert first['experiment_key'] == second['experiment_key']
        assert first['device'] == second['device'] == 'cpu'
    assert not torch.equal(
        frames('out/a/result.mp4'), frames('out/b/result.mp4'))

    # What they left is finished for anyone.
    shutil.rmtree('out')
    os.rename('two', 'out')
    caplog.clear()
    assert run('a.yaml', 'b.yaml', 'c.yaml', '--workers', '2') == 0
    assert 'at once' not in caplog.text


def badly(*arguments):
    r"""Stands in for `work`: what each experiment does to its worker."""

    def load(job):
        if job.save_file.parent.name == 'unloaded':
            raise MemoryError('no room for the weights')

    def execute(job, pipe):
        name = job.save_file.parent.name
        if name == 'slow':
            time.sleep(1)
        if name == 'killed':
            (job.save_file.parent / temporary_name()).mkdir(parents=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if name == 'aborted':
            os.write(2, b'free(): invalid pointer\n')
            os.abort()
        if name == 'faulty':
            raise FloatingPointError('the edit is nan')
        if name == 'warned':
            worker.log.warning('The photo is small.')
        job.record.stages, job.record.results = {'edit': 90.}, {}
        return jobs.save(job, torch.zeros(3, 5, 64, 64))

    def save(folder, job, result, progress):
        (folder / job.save_file.name).write_text(job.save_file.parent.name)

    jobs.load, jobs.execute = load, execute
    row = run_experiments.ABLE['pvtt']
    object.__setattr__(row, 'save', save)
    ORIGINAL(*arguments)


ORIGINAL = worker.work


def run_badly(monkeypatch, *names):
    for name in names:
        experiment(Path(f'{name}.yaml'))
    monkeypatch.setattr(worker, 'work', badly)
    return run(*(f'{name}.yaml' for name in names), '--workers', '2')


def test_a_worker_that_dies_takes_its_own_experiment(
        place, monkeypatch, forked, caplog):
    assert run_badly(
        monkeypatch, 'killed', 'slow', 'faulty', 'warned', 'a', 'b') == 1
    assert statuses(place) == {
        'killed': 'failed', 'slow': 'done', 'faulty': 'failed',
        'warned': 'done', 'a': 'done', 'b': 'done'}
    error = table(place)['killed']['error']
    assert 'signal 9' in error and 'memory' in error
    assert 'signal 9' in (place / 'out/killed/error.log').read_text()
    assert table(place)['faulty']['error'] == \
        'FloatingPointError: the edit is nan'
    assert 'warned: The photo is small.' in caplog.messages
    assert 'killed failed: RuntimeError: The worker died' in caplog.text
    assert not leftovers(place)


def test_what_waits_when_no_worker_is_left(place, monkeypatch, forked, caplog):
    names = ('unloaded', 'aborted', 'a')
    assert run_badly(monkeypatch, *names) == 1
    assert statuses(place) == {
        'unloaded': 'failed', 'aborted': 'failed', 'a': 'waiting'}
    rows = table(place)
    assert rows['unloaded']['error'] == 'MemoryError: no room for the weights'
    assert rows['aborted']['error'].endswith(': free(): invalid pointer')
    assert 'No worker is left: 1 experiments wait' in caplog.text
    assert not leftovers(place)


def test_broken_weights_stop_all(place, forked, capsys):
    path = place / 'checkpoint/diffusion_pytorch_model.safetensors'
    path.write_bytes(path.read_bytes()[:1000])
    assert run('a.yaml', 'b.yaml', '--workers', '2') == 2
    assert 'Cannot read' in capsys.readouterr().err
    assert set(statuses(place).values()) == {'waiting'}
    assert not leftovers(place)


def test_ctrl_c_ends_all_workers(place):
    for name in 'bcd':
        experiment(place / f'{name}.yaml', sample_steps=1000)
    program = subprocess.Popen([
        sys.executable, ROOT / 'run_experiments.py', 'a.yaml', 'b.yaml',
        'c.yaml', 'd.yaml', '--ckpt_dir', 'checkpoint', '--out', 'out',
        '--device', 'cpu', '--dtype', 'float32', '--workers', '2'],
        stderr=subprocess.PIPE, text=True, start_new_session=True)
    for line in program.stderr:
        if 'Experiment 1 of 4' in line:
            break
    children = psutil.Process(program.pid).children(recursive=True)
    assert len(children) >= 2
    os.killpg(program.pid, signal.SIGINT)
    said = program.communicate(timeout=60)[1]
    assert program.returncode == 130
    assert 'what is finished stays' in said and 'Traceback' not in said
    assert list(statuses(place).values()) == [
        'done', 'waiting', 'waiting', 'waiting']
    assert not psutil.wait_procs(children, 10)[1]
    assert not leftovers(place)
    assert not list(place.glob('out/[bcd]/result*'))


@pytest.mark.parametrize(('cards', 'workers', 'device', 'expected'), [
    (0, 'auto', None, [None]),
    (0, '3', None, [None] * 3),
    (0, '2', 'cpu', ['cpu'] * 2),
    (3, 'auto', None, ['cuda:0', 'cuda:1', 'cuda:2']),
    (3, '2', 'cuda', ['cuda:0', 'cuda:1']),
    (3, 'auto', 'cuda:1', ['cuda:1']),
    (3, '2', 'cpu', ['cpu'] * 2),
    (3, '4', None, 'allowed: auto, or 1 to 3'),
    (3, '2', 'cuda:1', '1 to 1, one for each CUDA device that device'),
    *((0, bad, None, f'workers is {bad!r}') for bad in (
        '0', '-1', '1.5', 'all', '', '9' * 5000)),
])
def test_one_worker_for_each_gpu(
        monkeypatch, cards, workers, device, expected):
    empty = torch.empty
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: cards > 0)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: cards)
    monkeypatch.setattr(torch, 'empty', lambda *n, device: empty(*n))
    if isinstance(expected, list):
        assert worker_devices(workers, device) == expected
    else:
        with pytest.raises(ValueError, match=re.escape(expected)):
            worker_devices(workers, device)


def test_bad_commands_run_nothing(place, monkeypatch, capsys):
    assert run('a.yaml', '--workers', 'many') == 2
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert run('a.yaml') == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "workers is 'many', allowed: auto, or a number" in first
    assert 'torchrun' in second and '--workers' in second
    assert not (place / 'out').exists()
