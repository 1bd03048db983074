r"""Many edits with one loaded model; no failure stops the rest.

Each experiment has a folder of its own. Its record is written last and holds a
key of everything the result depends on: where the key is the same, the
experiment is finished and not run again.
"""
import hashlib
import json
import logging
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from .. import tasks
from ..utils.checkpoint import find_weights, weight_files
from ..utils.record import check_writable, progress, versions
from .files import KEYS, PATHS
from .report import KEY, RESULT, Experiment, write_report

log = logging.getLogger(__name__)

# Flags that change where and how a result comes about, not the result. Files
# and the checkpoint count by their content.
NO_MATTER = (
    'ckpt_dir', 'config', 'device', 'dry_run', 'offload_model', 'ref_bank',
    'save_file')
TAIL_BYTES = 2**16


def check_all(
    jobs: Mapping[str, Callable[[], Namespace]], out: str | Path
) -> list[Experiment]:
    r"""Look at every experiment before any weight is read.

    Args:
        jobs: for each name a function giving its flags.
        out: folder of all results.

    Returns:
        The experiments; the bad ones 'failed', those finished before 'done'.

    Raises:
        ValueError: `out` cannot be written to, or no experiment is good.
    """
    check_writable(Path(out, 'index.html'))
    experiments, bad = [], {}
    with progress(len(jobs), 'check') as bar:
        for name, read in jobs.items():
            experiments.append(Experiment(Path(out, name)))
            try:
                _check(experiments[-1], read)
            except ValueError as error:
                bad[name] = error
            bar.update()
    if len(bad) == len(experiments):
        raise ValueError('\n'.join(dict.fromkeys(map(str, bad.values()))))
    for experiment in experiments:
        if experiment.name in bad:
            experiment.fail(bad[experiment.name])
    return experiments


def run_all(experiments: list[Experiment], out: str | Path) -> None:
    r"""Run what waits, one after another on one pipeline.

    results.csv and index.html are written first, after each experiment, and
    when interrupted.

    Raises:
        CheckpointError: weights that cannot be read.
    """
    waiting = [e for e in experiments if e.status == 'waiting']
    write_report(experiments, out)
    if not waiting:
        return
    pipe = tasks.load(prepare(waiting[0]))
    start = time.monotonic()
    for done, experiment in enumerate(waiting):
        each = (time.monotonic() - start) / max(1, done)
        left = f' (about {_span(each * (len(waiting) - done))} left)'
        log.info('Experiment %d of %d%s: %s', done + 1, len(waiting),
                 left if done else '', experiment.name)
        try:
            _run(experiment, pipe)
        except Exception as error:
            experiment.fail(error)
        finally:
            write_report(experiments, out)


def prepare(experiment: Experiment) -> tasks.Job:
    r"""The checked job, its key in its record. It holds the whole clip.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    args = experiment.args
    for flag in ('config', 'save_file'):
        if getattr(args, flag) is not None:
            raise ValueError(
                f'--{flag} is not for experiments: their files stand alone, '
                f'their results go to --out.')
    if args.task != 'pvtt':
        raise ValueError(f'--task {args.task}: experiments are of pvtt only.')
    if args.base_seed < 0:
        raise ValueError(
            f'--base_seed {args.base_seed} draws another seed each time; '
            f'experiments need one of 0 or more.')
    job = tasks.prepare(Namespace(**{
        **vars(args), 'save_file': str(experiment.folder / RESULT)}))
    job.record.arguments[KEY] = _key(job)
    return job


def _check(experiment: Experiment, read: Callable[[], Namespace]) -> None:
    with _quiet():
        experiment.args = read()
        job = prepare(experiment)
    experiment.settings = _settings(job)
    if experiment.recall(job.record.arguments[KEY]):
        log.info('Finished before: %s', experiment.name)


def _run(experiment: Experiment, pipe) -> None:
    job = prepare(experiment)
    pipe.stage_seconds = {}  # loading is no cost of the first
    tasks.run(job, pipe)
    experiment.recall(job.record.arguments[KEY])


def _settings(job: tasks.Job) -> dict[str, object]:
    width, height = job.size
    given = {name: getattr(job.args, name)
             for names in KEYS.values() for name in names}
    return {
        **given, **asdict(job.inputs.edit), **asdict(job.inputs.ref),
        'size': f'{width}*{height}', 'frame_num': job.frame_num}


def _key(job: tasks.Job) -> str:
    r"""A hash of everything the result depends on."""
    facts = {**vars(job.args), **_settings(job)}
    for name in NO_MATTER:
        del facts[name]
    for name in (*PATHS, 'reverse'):
        if facts[name]:
            facts[name] = [_digest(p) for p in str(facts[name]).split(',')]
    facts |= {
        'device_type': job.device.type, 'dtype': str(job.dtype),
        'version': versions()['wan'],
        'checkpoint': [_sample(p) for p in _checkpoint_files(job)]}
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(path: str | Path) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _checkpoint_files(job: tasks.Job) -> list[Path]:
    folder, config = Path(job.args.ckpt_dir), job.config
    tokenizer = sorted((folder / config.t5_tokenizer).iterdir())
    return [
        folder / 'config.json', *weight_files(folder),
        find_weights(folder / config.t5_checkpoint),
        find_weights(folder / config.vae_checkpoint),
        *(path for path in tokenizer if path.is_file())]


def _sample(path: Path) -> tuple[str, int, str]:
    r"""Name, size and a hash of the end: gigabytes are not read for this.

    The end holds the checksums of a .pth file and the last tensor of a
    safetensors file, which no training leaves as it was.
    """
    size = path.stat().st_size
    with path.open('rb') as file:
        file.seek(max(0, size - TAIL_BYTES))
        return path.name, size, hashlib.sha256(file.read()).hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    r"""Without notes on the inputs: they come when an experiment runs."""
    logger = logging.getLogger(tasks.__name__)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _span(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f'{hours} h {minutes} min'
    return f'{minutes} min' if minutes > 1 else f'{seconds:.0f} s'
