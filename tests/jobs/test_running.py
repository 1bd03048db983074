r"""Running a job: progress, cancelling, whose pipeline it is, what is kept."""
import json

import pytest
import torch

from tests.cli import nothing_changes, prepared
from tests.edits import edit_flags
from wan import jobs
from wan.utils.progress import Cancelled, Progress


@pytest.fixture
def text(checkpoint, tmp_path):
    r"""A small text job with other flags."""
    return lambda *more: prepared(
        '--task', 't2v-tiny', '--ckpt_dir', checkpoint, '--frame_num', 1,
        '--sample_steps', 3, '--prompt', 'a vase', '--save_file',
        tmp_path / 'x.mp4', *more)


@pytest.fixture
def edit(checkpoint, media, tmp_path):
    r"""A small edit with other flags."""
    return lambda *more: prepared(*edit_flags(
        checkpoint, media, tmp_path / 'x.mp4', *more))


@pytest.mark.parametrize('task, stage, steps', (
    ('text', 'denoise', 3), ('edit', 'edit', 2)))
def test_a_listener_is_told_of_every_step(request, task, stage, steps):
    job, heard = request.getfixturevalue(task)(), []
    jobs.run(job, progress=Progress(heard.append))
    begun = [step.stage for step in heard if step.done == 0]
    assert tuple(dict.fromkeys(begun)) == job.stages[:-1]
    told = [step for step in heard if step.stage == stage]
    assert [(step.done, step.total) for step in told] == [
        (n, steps) for n in range(steps + 1)]
    assert told[0].eta is None and told[-1].eta == 0
    shape = job.checkpoint.latent_shape(job.work.size, job.work.frame_num)
    assert told[0].latent is None
    assert all(step.latent.shape == shape for step in told[1:])


@pytest.mark.parametrize('task, stage', (
    ('text', 'denoise'), ('edit', 'edit'), ('edit', 'measure'),
    ('edit', 'save')))
def test_a_cancelled_job_ends_and_writes_nothing(
        request, tmp_path, task, stage):
    job, heard = request.getfixturevalue(task)(), []

    def listen(step):
        heard.append(step)
        if step.stage == stage:
            progress.cancel()

    progress = Progress(listen)
    with nothing_changes(tmp_path), pytest.raises(Cancelled, match=stage):
        jobs.execute(job, progress=progress)
    # It ends at the very next step.
    assert [step.stage for step in heard].count(stage) == 1


def test_a_pipeline_serves_jobs_of_its_machine_only(text):
    job = text('--attention', 'math', '--dtype', 'float32')
    pipe = jobs.load(job)
    assert pipe.runtime == job.runtime
    with pytest.raises(ValueError, match="attention='math'.*the job of.*"
                       "attention='sdpa'"):
        jobs.run(text('--attention', 'sdpa', '--dtype', 'float32'), pipe)
    again = text('--attention', 'math', '--dtype', 'float32')
    assert jobs.run(again, pipe).shape == (3, 1, 128, 128)


def test_jobs_of_two_machines_run_by_turns(text):
    pairs = []
    for name in ('math', 'sdpa'):
        job = text('--attention', name, '--dtype', 'float32', '--base_seed=1')
        pairs.append((job, jobs.load(job)))
    first, second, again = (
        jobs.run(*pairs[i]) for i in (0, 1, 0))
    assert torch.equal(first, again)
    assert (first - second).abs().mean() < 1e-3


def test_results_may_be_kept_without_files(edit, tmp_path):
    job = edit()
    with nothing_changes(tmp_path):
        made = jobs.run(job)
    assert made.video.shape == (3, 1, 128, 128)
    assert job.record.results['collage_on']
    assert 'metrics' in job.record.results
    assert jobs.save(job, made) == tmp_path / 'x.mp4'
    record = json.loads((tmp_path / 'x.json').read_text())
    assert tuple(record['seconds']) == job.stages


def test_notes_are_logged_and_recorded(text, tmp_path, caplog):
    caplog.set_level('INFO')
    job = text('--prompt_extend_target_lang', 'en')
    [note] = job.work.notes
    jobs.execute(job)
    assert caplog.messages.count(note) == 1
    assert json.loads((tmp_path / 'x.json').read_text())['results'] == {
        'notes': [note]}
