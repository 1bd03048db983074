r"""Running rows on pairs: in several processes, and on where it stopped."""
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import torch

from wan.pvtt import WanPVTT
from wan.utils.progress import progress
from wan.utils.record import atomic_write

from ..judge import Judge, agreement
from .edit import PairEditor
from .rows import Row
from .store import (
    CONFIG,
    RUNTIME,
    SHOWN_PAIRS,
    Results,
    Setup,
    append_result,
    read_results,
    strip,
)
from .worlds import WORLDS

Task = tuple[int, Row, str]  # pair number, row, photo


def run(
    rows: Sequence[Row], setup: Setup, pairs: int, workers: int = 0
) -> dict[str, Results]:
    r"""Finish what is missing of the rows and return all of their results.

    Every edit runs on one thread and depends on nothing but its row and pair:
    the results are the same bits for any number of workers.

    Args:
        pairs: numbers 0 to `pairs` - 1.
        workers: further processes to use; 0 stays in this one.

    Returns:
        By the rows' names.
    """
    # Equal settings under several names are run once.
    files = {setup.results_file(row): row for row in rows}
    done = {file: read_results(file) for file in files}
    wanted = {(file, number, photo) for file, row in files.items()
              for number in range(pairs) for photo in row.photos}
    tasks = [
        (number, row, photo) for number in range(pairs)
        for file, row in files.items() for photo in row.photos
        if (number, photo) not in done[file] or number < SHOWN_PAIRS
        and not setup.strip_file(row, number, photo).is_file()]
    with progress(len(wanted), 'benchmark') as bar:
        bar.update(len(wanted) - len(tasks))
        for (number, row, photo), values in _answers(setup, tasks, workers):
            file = setup.results_file(row)
            append_result(file, {
                'row': row.name, 'pair': number, 'photo': photo,
                'values': values})
            done[file][number, photo] = values
            bar.update()
    return {row.name: {
        (number, photo): done[setup.results_file(row)][number, photo]
        for number in range(pairs) for photo in row.photos} for row in rows}


def answer(setup: Setup, task: Task) -> dict[str, float]:
    r"""Do one edit and measure it.

    Raises:
        FloatingPointError: the edit became non-finite; it says which.
    """
    number, row, photo = task
    editor = _editor(setup, number)
    with _one_thread():
        try:
            video = editor.run(row, photo)
        except FloatingPointError as error:
            raise FloatingPointError(
                f'Row {row.name}, pair {number}, {photo} photo: {error}'
            ) from error
        values = editor.measure(row, video)
        if setup.judge is not None:
            verdict = _judge(setup.judge, setup.world).verdicts(video)
            values |= {f'judge_{name}': float(agrees) for name, agrees in
                       agreement(verdict, editor.pair.truth).items()}
    if number < SHOWN_PAIRS:
        with atomic_write(setup.strip_file(row, number, photo)) as path:
            strip(video).save(path)
    return values


def find(setup: Setup, number: int, row: Row) -> float:
    r"""IoU of the mask that a row finds in a pair with the true one."""
    with _one_thread():
        return _editor(setup, number).found(row)['iou']


def _answers(
    setup: Setup, tasks: Sequence[Task], workers: int
) -> Iterator[tuple[Task, dict[str, float]]]:
    r"""Tasks with their results as they come.

    All tasks of a pair go to one process, which keeps what they share.
    """
    if workers == 0:
        for task in tasks:
            yield task, answer(setup, task)
        return
    with ExitStack() as stack:
        pools = []
        for _ in range(workers):
            pools.append(ProcessPoolExecutor(
                1, get_context('spawn'), _start_worker))
            stack.callback(pools[-1].shutdown, cancel_futures=True)
        futures: dict[Future, Task] = {
            pools[task[0] % workers].submit(answer, setup, task): task
            for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _start_worker() -> None:
    # The pipeline's own bars would cover the benchmark's. What fails is
    # raised where the results are awaited.
    sys.stderr = open(os.devnull, 'w')  # noqa: SIM115


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=1)
def _editor(setup: Setup, number: int) -> PairEditor:
    r"""Kept while its pair's tasks last, with all that they share."""
    return setup.questions.editor(
        partial(_pipeline, setup.ckpt_dir), setup.pair(number))


@lru_cache(maxsize=1)
def _pipeline(ckpt_dir: Path) -> WanPVTT:
    return WanPVTT(CONFIG, ckpt_dir, runtime=RUNTIME)


@lru_cache(maxsize=1)
def _judge(path: Path, world: str) -> Judge:
    return Judge.load(path, WORLDS[world].labels)
