r"""Results of many experiments as results.csv and one self-contained page."""
import base64
import csv
import functools
import io
import logging
import os
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from ..jobs.origin import write_record
from ..jobs.saving import check_replaceable, switching
from ..utils.image import read_image
from ..utils.record import check_writable, legible
from .experiment import ERROR_LOG, RECORD, RESULT, Experiment

log = logging.getLogger(__name__)

# The record of the report, and the files that it is of.
REPORT = ('report.json', 'results.csv', 'index.html')
SHEET = 'result_sheet.png'
LINKS = {
    RESULT: 'video', 'result_comparison.mp4': 'comparison',
    'result_mask.mp4': 'mask', SHEET: 'contact sheet', RECORD: 'record',
}
# A hundred sheets of this width and quality come to a few megabytes.
SHEET_WIDTH, SHEET_QUALITY = 900, 70


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
                 _page(experiments, shared, columns, rows))
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
    writer.writerows(rows)
    return stream.getvalue()


def _page(experiments, shared, columns, rows) -> str:
    counts = Counter(e.status for e in experiments)
    return PAGE.format(
        counts=', '.join(f'{n} {status}' for status, n in counts.items()),
        head=''.join(f'<th>{_breakable(name)}' for name in columns[:-1]),
        rows='\n'.join(_table_row(row, columns[:-1]) for row in rows),
        shared=_definitions(shared),
        sections='\n'.join(map(_section, experiments, rows)))


def _table_row(row: dict[str, str], columns: Sequence[str]) -> str:
    name, status = row['name'], row['status']
    if row['error']:
        cells = f'<td colspan="{len(columns)}">{escape(row["error"])}'
    else:
        cells = ''.join(f'<td>{escape(row.get(c, ""))}' for c in columns[2:])
    return (f'<tr><td><a href="#{_address(name)}">{_breakable(name)}</a>'
            f'<td class="{status}">{status}{cells}')


def _section(experiment: Experiment, row: dict[str, str]) -> str:
    name, folder = experiment.name, experiment.folder
    files = {}
    if experiment.status == 'done':
        files = {f: t for f, t in LINKS.items() if (folder / f).is_file()}
    if experiment.error:
        files = {ERROR_LOG: 'error log'}
    links = ''.join(
        f'<a href="{_address(name)}/{file}">{text}</a>'
        for file, text in files.items())
    picture = _picture(folder / SHEET) if SHEET in files else ''
    facts = {k: v for k, v in row.items() if v and k != 'name'}
    return (
        f'<section id="{escape(name)}"><h2>{escape(name)}</h2>{picture}'
        f'<dl>{_definitions(facts)}</dl>{links}</section>')


def _picture(sheet: Path) -> str:
    try:
        source = sheet_uri(sheet, sheet.stat().st_mtime_ns)
    except (OSError, ValueError) as error:
        return escape(str(error))
    return f'<img alt="" loading="lazy" src="{source}">'


def _definitions(facts: dict[str, str]) -> str:
    return ''.join(
        f'<div><dt>{escape(k)}</dt> <dd>{escape(v)}</dd></div>'
        for k, v in facts.items())


def _address(name: str) -> str:
    return quote(os.fsencode(name))


def _breakable(name: str) -> str:
    return escape(name).replace('_', '_<wbr>')


@functools.lru_cache(maxsize=1024)
def sheet_uri(path: Path, changed: int) -> str:
    r"""A small copy of a contact sheet as a data URI.

    `changed`, the time of its last change, makes a new sheet a new entry.
    """
    image = read_image(path)
    image.thumbnail((SHEET_WIDTH, 4 * SHEET_WIDTH))
    stream = io.BytesIO()
    image.save(stream, 'WEBP', quality=SHEET_QUALITY)
    text = base64.b64encode(stream.getvalue()).decode()
    return f'data:image/webp;base64,{text}'


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Experiments</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #333; margin: 2rem auto;
  max-width: 1200px; padding: 0 1rem }}
h1 {{ margin: 0 }} h2 {{ font-size: 1.05rem; margin: 0 0 .6rem }}
h2, dd, td {{ overflow-wrap: anywhere }} td {{ min-width: 4.6rem }}
a {{ color: #07a }} section a {{ margin-right: 1rem }}
.wide {{ overflow-x: auto; margin: 1rem 0 }}
table {{ border-collapse: collapse; font-size: 13px;
  font-variant-numeric: tabular-nums }}
th, td {{ padding: .3rem .6rem; text-align: left; vertical-align: bottom;
  border-bottom: 1px solid #ddd; max-width: 20rem }}
td:first-child {{ min-width: 16rem }}
th {{ cursor: pointer; background: #f4f4f3 }}
section {{ border: 1px solid #ddd; border-radius: 8px; padding: 1rem;
  margin: 1.2rem 0 }}
img {{ max-width: 100%; display: block; border-radius: 4px }}
.done {{ color: #272 }} .failed {{ color: #b22 }} .waiting {{ color: #777 }}
dl {{ font-size: 13px; display: flex; flex-wrap: wrap; gap: 0 1.4rem }}
dt, dd {{ display: inline; margin: 0 }} dt {{ color: #777 }}
</style>
<h1>Experiments</h1><p>{counts}</p>
<div class="wide"><table><thead><tr>{head}</thead>
<tbody>
{rows}
</tbody></table></div>
<details><summary>Settings that all share</summary><dl>{shared}</dl></details>
{sections}
<script>
// A click on a column's head sorts by it, a second one the other way round.
document.querySelectorAll('thead th').forEach((head, column) => {{
  let order = 1
  head.onclick = () => {{
    const body = document.querySelector('tbody')
    const text = row => row.cells[column]?.textContent ?? ''
    const sorted = [...body.rows].sort((a, b) => order * (
      text(a) - text(b) || text(a).localeCompare(text(b))))
    body.append(...sorted)
    order = -order
  }}
}})
</script>
</html>
"""
