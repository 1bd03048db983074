r"""Results of many experiments as results.csv and one self-contained page."""
import csv
import io
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from ..jobs.origin import write_record
from ..jobs.saving import check_replaceable, switching
from ..utils.record import check_writable, legible
from .experiment import Experiment
from .page import results_page

log = logging.getLogger(__name__)

# The record of the report, and the files that it is of.
REPORT = ('report.json', 'results.csv', 'index.html')
# What a spreadsheet would compute, where it is no number.
FORMULA = re.compile(r'[=@\t\r]|[+-](?![\d.,+\-einf]*$)')


def check_report(
    out: str | Path, reads: Sequence[str | Path], overwrite: bool = False
) -> None:
    r"""Check that the report can be written, and replaces only itself.

    Args:
        reads: files that are never replaced.

    Raises:
        ValueError: the folder cannot be written to, or files in it are of
            another origin.
    """
    record, *pages = (Path(out, name) for name in REPORT)
    for path in (record, *pages):
        check_writable(path)
        if any(os.path.exists(read) and os.path.exists(path) and
               path.samefile(read) for read in reads):
            raise ValueError(f'Cannot write {path}: it is an input.')
    if not overwrite:
        check_replaceable(record, pages)


def write_report(experiments: Sequence[Experiment], out: str | Path) -> None:
    r"""Write results.csv and index.html to the folder `out`.

    The report stops no experiment: what goes wrong is logged.
    """
    record, *pages = (Path(out, name) for name in REPORT)
    try:
        shared, differing = compare_settings(experiments)
        rows = [_row(experiment, differing) for experiment in experiments]
        columns = list(dict.fromkeys(
            c for r in rows for c in r if c != 'error'))
        columns.append('error')
        texts = (_csv(columns, rows),
                 results_page(experiments, shared, columns, rows))
        with switching(record, pages) as folder:
            for page, text in zip(pages, texts, strict=True):
                (folder / page.name).write_text(
                    legible(text), encoding='utf-8', newline='')
            write_record(folder / record.name, {})
    except Exception as error:
        log.error('The report in %s could not be written: %s', out, error)


def compare_settings(
    experiments: Sequence[Experiment],
) -> tuple[dict[str, str], list[str]]:
    r"""The settings all experiments share, and the names of the others."""
    texts = [{k: _text(v) for k, v in e.settings.items()}
             for e in experiments if e.settings]
    shared = dict(set.intersection(*(set(t.items()) for t in texts))) \
        if texts else {}
    names = list(texts[0]) if texts else []
    return ({name: shared[name] for name in names if name in shared},
            [name for name in names if name not in shared])


def _row(experiment: Experiment, settings: Sequence[str]) -> dict[str, str]:
    seconds = experiment.seconds
    return {
        'name': experiment.name, 'status': experiment.status,
        'seconds': '' if seconds is None else f'{seconds:.1f}',
        **{k: _text(experiment.settings.get(k)) for k in settings},
        **{k: _text(v) for k, v in experiment.metrics.items()},
        'error': experiment.error}


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ','.join(map(_text, value))
    if isinstance(value, float):
        return f'{value:.5g}'
    return '' if value is None else str(value)


def _csv(columns: Sequence[str], rows: Sequence[dict[str, str]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval='')
    writer.writeheader()
    # An apostrophe has it shown as the text that it is.
    writer.writerows({
        name: f"'{text}" if FORMULA.match(text) else text
        for name, text in row.items()} for row in rows)
    return stream.getvalue()
