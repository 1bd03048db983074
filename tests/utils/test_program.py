r"""How commands end, whatever their surroundings are."""
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wan.utils.program import run_program

ROOT = Path(__file__).parents[2]
PROGRAM = """
import logging, os, signal, sys
from wan.utils.program import run_program, use_utf8
def prepare():
    logging.info('checked')
    if sys.argv[1] == 'bad':
        raise ValueError('it is bad: ' + sys.argv[2])
    return sys.argv[1]
def run(what):
    if what == 'term':
        os.kill(os.getpid(), signal.SIGTERM)
    if what == 'fault':
        raise RuntimeError('a fault')
    print(sys.argv[2])
use_utf8()
sys.exit(run_program('p.py', prepare, run, 'nothing was written'))
"""


@pytest.fixture(scope='module')
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp('program') / 'p.py'
    path.write_text(PROGRAM)

    def start(*argv, redirect='', **more):
        environment = {**os.environ, 'PYTHONPATH': str(ROOT), **more}
        made = subprocess.run(
            ['sh', '-c', f'exec "$@" {redirect}', 'sh', sys.executable, path,
             *argv], env=environment, capture_output=True)
        assert b'Traceback' not in made.stderr or made.returncode == 1
        assert b'Exception ignored' not in made.stderr
        return made.returncode, made.stdout.decode(), made.stderr.decode()

    return start


@pytest.mark.skipif(os.name == 'nt', reason='needs a shell')
@pytest.mark.parametrize('argv, redirect, code', (
    (('good', 'x'), '2>&-', 0), (('good', 'x'), '2>/dev/full', 0),
    (('bad', 'x'), '2>&-', 2), (('bad', 'x'), '2>/dev/full', 2),
    (('fault', 'x'), '2>/dev/full', 1), (('good', 'x'), '>/dev/full', 1),
    (('term', 'x'), '2>&- </dev/null', 143)))
def test_closed_and_full_streams(program, argv, redirect, code):
    assert program(*argv, redirect=redirect)[0] == code


def test_a_folder_that_is_gone(tmp_path, monkeypatch, capsys):
    gone = tmp_path / 'gone'
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert run_program('p', pytest.fail, pytest.fail, '') == 2
    assert capsys.readouterr().err == (
        'p: error: The working folder cannot be used: No such file or '
        'directory.\n')


def test_what_may_not_be_read_is_bad_input(capsys):

    def prepare():
        raise PermissionError(13, 'Permission denied', 'closed/a.mp4')

    assert run_program('p', prepare, pytest.fail, '') == 2
    assert capsys.readouterr().err == (
        'p: error: Cannot use closed/a.mp4: Permission denied.\n')


def test_terminated(program):
    code, _, said = program('term', 'x')
    assert code == 143
    assert said.splitlines()[-1] == (
        'p.py: error: terminated; nothing was written')


@pytest.mark.skipif(sys.platform != 'linux', reason='of C locales')
def test_an_ascii_locale_takes_any_text(program):
    ascii_only = {'LC_ALL': 'C', 'PYTHONUTF8': '0'}
    assert program('good', '花瓶', **ascii_only)[:2] == (0, '花瓶\n')
    code, _, said = program('bad', '花瓶', **ascii_only)
    assert code == 2 and said.endswith('p.py: error: it is bad: 花瓶\n')


def test_a_stream_that_lacks_letters_is_told_of_them(program):
    code, out, _ = program('good', '花', PYTHONIOENCODING='latin-1')
    assert (code, out) == (0, '\\u82b1\n')


def test_help_survives_without_docstrings():
    code = ('from wan.jobs.settings import JobSettings as S; from '
            'wan.utils.flags import argument_help, heading; '
            'print(S.__doc__, heading(S), argument_help(S)["base_seed"])')
    made = subprocess.run(
        [sys.executable, '-OO', '-W', 'ignore', '-c', code], cwd=ROOT,
        capture_output=True, text=True, check=True)
    assert 'What every task is given seed of all noise' in made.stdout
    assert 'Raises' not in made.stdout


def test_the_handler_of_a_signal_is_put_back():
    before = signal.getsignal(signal.SIGTERM)
    assert run_program('p', lambda: None, lambda job: None, '') == 0
    assert signal.getsignal(signal.SIGTERM) == before
