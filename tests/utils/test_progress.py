r"""What a run tells while it goes on."""
import io
import sys
import threading

import pytest
import torch

from wan.utils import progress as module
from wan.utils.progress import Cancelled, Progress, Step, progress


@pytest.fixture
def clock(monkeypatch):
    r"""Seconds that pass only when told."""
    now = [100.]
    monkeypatch.setattr(module.time, 'perf_counter', lambda: now[0])
    return now


def test_a_stage_tells_its_steps_and_when_it_will_end(clock):
    told, latent = [], torch.zeros(1)
    run = Progress(told.append)
    with run.stage('edit', 4) as step:
        for done in (1, 2):
            clock[0] += 3
            step(done, 4, latent)
    assert told == [
        Step('edit', 0, 4), Step('edit', 1, 4, 9., latent),
        Step('edit', 2, 4, 6., latent)]
    assert run.seconds == {'edit': 6.}


def test_a_stage_that_comes_twice_adds_up_and_one_that_fails_does_not(clock):
    run = Progress()
    for seconds in (2, 5):
        with run.stage('decode'):
            clock[0] += seconds
    with pytest.raises(OSError), run.stage('save'):
        clock[0] += 1
        raise OSError
    assert run.seconds == {'decode': 7.}


def test_chunks_may_be_more_than_was_known(clock):
    told = []
    with Progress(told.append).stage('encode') as step:
        clock[0] += 1
        step(1, 3)
    assert told[-1] == Step('encode', 1, 3, 2.)


def test_another_thread_can_cancel():
    run = Progress()
    with pytest.raises(Cancelled, match="'denoise'"), \
            run.stage('denoise', 9) as step:
        step(1, 9)
        thread = threading.Thread(target=run.cancel)
        thread.start()
        thread.join()
        step(2, 9)
    assert run.seconds == {}
    with pytest.raises(Cancelled, match="'decode'"), run.stage('decode'):
        raise AssertionError('the next stage must not begin')


def test_progress_is_silent_in_logs(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, 'stderr', log)
    assert list(progress([1, 2, 3], 'denoise')) == [1, 2, 3]
    with progress(2, 'decode') as bar:
        bar.update()
    assert log.getvalue() == ''


def test_progress_shows_stage_and_eta_on_a_terminal(monkeypatch):
    log = io.StringIO()
    log.isatty = lambda: True
    monkeypatch.setattr(sys, 'stderr', log)
    assert list(progress(iter([1, 2]), 'encode')) == [1, 2]
    with progress(2, 'denoise') as bar:
        bar.update()
    assert 'encode' in log.getvalue()
    assert 'denoise:  50%' in log.getvalue() and '<' in log.getvalue()
