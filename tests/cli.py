r"""Running generate.py in the test's own process."""
import json
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import generate
from tests.utils.media import tags
from wan import jobs
from wan.jobs import running
from wan.utils.progress import Progress
from wan.utils.video import read_video

WEIGHTS = 'diffusion_pytorch_model.safetensors'


def hollow(checkpoint: Path, folder: Path) -> Path:
    r"""A copy whose weight files keep their sizes and hold only zeros.

    Reading any of them fails, so what works with it reads none.
    """
    shutil.copytree(checkpoint, folder)
    for path in (*folder.glob('*.pth'), folder / WEIGHTS):
        size = path.stat().st_size
        path.write_bytes(b'')
        os.truncate(path, size)
    return folder


def changed(checkpoint: Path, folder: Path, change) -> Path:
    r"""A copy whose transformer's tensors went through `change`."""
    shutil.copytree(checkpoint, folder)
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)
    return folder


def result(code: int, path: Path) -> dict:
    r"""The record of a run that must have succeeded."""
    assert code == 0
    return json.loads(path.with_suffix('.json').read_text('utf-8'))


def embedded(path: Path) -> dict:
    r"""The record inside a video."""
    comment = re.search(
        r'^comment=((?:[^\n\\]|\\.)*)', tags(path), re.MULTILINE | re.DOTALL)
    return json.loads(re.sub(r'\\(.)', r'\1', comment[1], flags=re.DOTALL))


def prepared(*flags: object) -> jobs.Job:
    r"""What a command line is made of, before weights are read."""
    return generate.prepare(generate.parse_args([*map(str, flags)]))


def share_pipelines(monkeypatch, cache: dict) -> None:
    r"""Load each pipeline once, where loading is not what is tested."""
    load = running.load

    def shared(job, progress=None):
        key = job.row.pipeline, job.checkpoint.folder, job.runtime
        if key not in cache:
            cache[key] = load(job)
        with (progress or Progress()).stage('load'):
            return cache[key]

    monkeypatch.setattr(running, 'load', shared)


def frames(path: Path) -> torch.Tensor:
    return read_video(path)


def distance(a: Path, b: Path) -> float:
    r"""Mean absolute difference of two videos' pixels, of 2 at most."""
    return (frames(a) - frames(b)).abs().mean().item()


def failure(capsys, code: int, flags: list) -> str:
    r"""The one sentence on stderr of a run that must end with `code`."""
    capsys.readouterr()
    assert generate.main([str(flag) for flag in flags]) == code
    out, err = capsys.readouterr()
    lines = [x for x in err.splitlines() if x.startswith('generate.py: error')]
    assert out == ''
    assert lines == err.splitlines()[-1:]
    if code == 2:
        assert len(err.splitlines()) == 1, err
    return lines[0].removeprefix('generate.py: error: ')


def interrupt(monkeypatch, name: str, when: str) -> None:
    r"""Ctrl-C on entering a stage, or when its work is done."""
    original = Progress.stage

    @contextmanager
    def stage(self, current, *args):
        if (current, when) == (name, 'entering'):
            raise KeyboardInterrupt
        with original(self, current, *args) as step:
            yield step
        if current == name:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, 'stage', stage)


@contextmanager
def nothing_changes(folder: Path):
    r"""Neither file nor folder in it appears, goes or changes."""

    def content():
        return {path: path.is_dir() or path.read_bytes()
                for path in folder.rglob('*')}

    before = content()
    yield
    assert content() == before


@contextmanager
def small_disk(size: int):
    r"""No file may grow beyond `size` bytes."""
    resource = pytest.importorskip('resource')  # not on Windows
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
