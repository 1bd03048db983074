r"""The command line in several processes, as torchrun starts them."""
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import generate
from tests.cli import frames

ROOT = Path(__file__).parents[2]
EDIT = (
    '--task', 'pvtt', '--src_video', 'examples/template.mp4',
    '--target_image', 'examples/product.png', '--source_prompt', 'a red heart',
    '--target_prompt', 'a blue star', '--frame_num', '5', '--sample_steps',
    '3', '--base_seed', '1', '--dtype', 'float32', '--save_comparison',
    'false', '--measure', 'false', '--sparse', 'off')
TEXT = ('--task', 't2v-tiny', '--frame_num', '5', '--sample_steps', '2',
        '--base_seed', '1', '--dtype', 'float32')
# Seconds; a run takes a few, most of them for its start.
LIMIT = 150


def start(count, *flags, program='generate.py'):
    return subprocess.Popen(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone',
         '--nproc_per_node', str(count), program, *map(str, flags)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)},
        start_new_session=True)


def finished(process):
    r"""(exit code, stdout, stderr) of a run that must end by itself."""
    try:
        out, err = process.communicate(timeout=LIMIT)
        return process.returncode, out, err
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def errors(err):
    return re.findall(r'^generate\.py: error: (.*)$', err, re.MULTILINE)


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    r"""What one process makes of some flags."""
    folder, made = tmp_path_factory.mktemp('alone'), {}

    def run(flags):
        if flags not in made:
            path = folder / f'{len(made)}.mp4'
            assert generate.main([*flags, '--save_file', str(path)]) == 0
            made[flags] = path
        return made[flags]

    return run


@pytest.mark.parametrize('count, flags, layout', (
    (2, EDIT, ('--ulysses_size', 'auto', '--ring_size', 'auto')),
    (4, EDIT, ('--ulysses_size', '2', '--branch_parallel', '2', '--dit_fsdp',
               '--t5_fsdp')),
    (2, TEXT, ('--branch_parallel', '2', '--t5_cpu')),
))
def test_it_is_the_video_of_one_process(alone, tmp_path, count, flags, layout):
    path = tmp_path / 'out.mp4'
    code, _, err = finished(start(
        count, *flags, *layout, '--save_file', path))
    assert code == 0, err
    one = alone(flags)
    assert {p.name.replace('out', one.stem) for p in tmp_path.iterdir()} == {
        p.name for p in one.parent.glob(f'{one.stem}[._]*')}
    # The codec makes more of a difference in the last bit than it was.
    assert (frames(path) - frames(one)).abs().mean() < 1 / 255
    record, want = (json.loads(p.with_suffix('.json').read_text('utf-8'))
                    for p in (path, one))
    assert record['seconds'].keys() == want['seconds'].keys()
    assert record['arguments']['ulysses_size'] == (
        2 if '--ulysses_size' in layout else 1)
    # One process tells what goes on.
    assert err.count('INFO: load ...') == 1


@pytest.mark.parametrize('flags, says', (
    (('--frame_num', '6', '--ulysses_size', '2'), 'frame_num is 6, allowed'),
    (('--ulysses_size', '2', '--nonsense'), 'unrecognized arguments'),
    ((), 'possible are 2 x 1, 1 x 2'),
))
def test_bad_input_is_told_once(tmp_path, flags, says):
    code, _, err = finished(start(
        2, *TEXT, *flags, '--save_file', tmp_path / 'out.mp4'))
    (told,) = errors(err)
    assert says in told
    # torchrun's own is 1, whatever that of the processes.
    assert code == 1 and re.search(r'exitcode\s*: 2 ', err)
    assert not list(tmp_path.iterdir())


def test_a_process_that_fails_ends_the_run(tmp_path):
    began = time.monotonic()
    code, _, err = finished(start(
        2, 'raise', *EDIT, '--ulysses_size', '2', '--save_file',
        tmp_path / 'out.mp4', program='tests/distributed/faults.py'))
    assert code == 1
    assert errors(err) == ['rank 1: MemoryError: no room for it']
    assert not list(tmp_path.iterdir())
    assert time.monotonic() - began < 60 + 30  # its start included


def test_a_process_that_is_killed_ends_the_run(tmp_path):
    code, _, err = finished(start(
        2, 'kill', *EDIT, '--ulysses_size', '2', '--save_file',
        tmp_path / 'out.mp4', program='tests/distributed/faults.py'))
    assert code == 1
    # torchrun says which, and by what; nobody else complains.
    assert re.search(r'exitcode\s*: -9 ', err) and errors(err) == []
    assert not list(tmp_path.iterdir())


def test_ctrl_c_ends_all(tmp_path):
    process = start(2, *TEXT, '--sample_steps', '2000', '--branch_parallel',
                    '2', '--save_file', tmp_path / 'out.mp4')
    lines = []
    for line in process.stderr:
        lines.append(line)
        if 'denoise ...' in line:
            os.killpg(process.pid, signal.SIGINT)
            break
    code, _, err = finished(process)
    assert code != 0
    assert errors(''.join(lines) + err) == ['interrupted; nothing was written']
    assert not list(tmp_path.iterdir())


def test_one_process_is_too_few(capsys):
    assert generate.main([*TEXT, '--ulysses_size', '2']) == 2
    assert 'start them with torchrun' in capsys.readouterr().err
