r"""Results of many experiments as one page that needs nothing but their
folders."""
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from .experiment import ERROR_LOG, RECORD, Experiment
from .page_text import DETAILS, PAGE, TABLE
from .pictures import picture_uri, still_uri

SHEET = 'result_sheet.png'
# What stands in a folder, by name, and how a link calls it.
LINKS = {
    'result': 'video', 'result_comparison': 'comparison',
    'result_mask': 'mask'}
VIDEOS = ('.mp4', '.mov')
# What is said of a product, how, and in which unit.
REPORT = (
    ('share', '{:.1%} of the picture may have changed'),
    ('psnr_outside', 'the rest at {:.1f} dB'),
    ('ssim_outside', 'SSIM {:.4f}'),
    ('largest_outside', 'largest difference {:g} of 255'),
    ('photo_effect', 'another photo changes {:.1%}'))


def results_page(
    experiments: Sequence[Experiment],
    shared: Mapping[str, str],
    columns: Sequence[str],
    rows: Sequence[Mapping[str, str]],
) -> str:
    r"""The page.

    Args:
        shared: settings that all have, as text.
        columns: of the table.
        rows: its cells by column, one for each experiment.
    """
    counts = Counter(e.status for e in experiments)
    catalogue = any(e.product for e in experiments)
    notes = _common([e.notes for e in experiments if e.status == 'done'])
    table = TABLE.format(
        head=''.join(f'<th>{_breakable(name)}' for name in columns[:-1]),
        rows='\n'.join(_table_row(row, columns[:-1]) for row in rows))
    same = DETAILS.format(title='Settings that all share',
                          content=f'<dl>{_definitions(shared)}</dl>')
    sections = '\n'.join(
        _section(experiment, row, notes)
        for experiment, row in zip(experiments, rows, strict=True))
    numbers = DETAILS.format(title='All numbers', content=table)
    # Of a catalogue one wants to see the pictures.
    parts = (sections, numbers, same) if catalogue else (table, same, sections)
    return PAGE.format(
        title='Catalogue' if catalogue else 'Experiments',
        counts=', '.join(f'{n} {status}' for status, n in counts.items()),
        notes=_notes(notes) if catalogue else '', parts='\n'.join(parts))


def _table_row(row: Mapping[str, str], columns: Sequence[str]) -> str:
    name, status = row['name'], row['status']
    if row['error']:
        cells = f'<td colspan="{len(columns)}">{escape(row["error"])}'
    else:
        cells = ''.join(f'<td>{escape(row.get(c, ""))}' for c in columns[2:])
    return (f'<tr><td><a href="#{_address(name)}">{_breakable(name)}</a>'
            f'<td class="{status}">{status}{cells}')


def _common(notes: Sequence[Sequence[str]]) -> list[str]:
    r"""Those of all, where there are several."""
    return [] if len(notes) < 2 else [
        note for note in dict.fromkeys(notes[0])
        if all(note in others for others in notes)]


def _notes(notes: Iterable[str]) -> str:
    return ''.join(f'<p class="note">{escape(note)}</p>' for note in notes)


def _section(
    experiment: Experiment, row: Mapping[str, str], said: Sequence[str]
) -> str:
    r"""One of the experiments.

    Args:
        said: notes that stand above.
    """
    name = experiment.name
    files = dict(_links(experiment))
    links = ''.join(
        f'<a href="{_address(name)}/{file}">{text}</a>'
        for file, text in files.items())
    shown = _side_by_side(experiment, files) + _notes(
        note for note in experiment.notes if note not in said
    ) if experiment.product else _sheet(experiment, files)
    facts = {k: v for k, v in row.items() if v and k != 'name'}
    details = f'<dl>{_definitions(facts)}</dl>'
    if experiment.product:
        details = DETAILS.format(title='All of it', content=details)
    return (
        f'<section id="{escape(name)}"><h2>{escape(name)}</h2>'
        f'{shown}{details}{links}</section>')


def _links(experiment: Experiment) -> Iterable[tuple[str, str]]:
    if experiment.error:
        yield ERROR_LOG, 'error log'
    if experiment.status != 'done':
        return
    found = {f'{stem}{suffix}': text for stem, text in LINKS.items()
             for suffix in VIDEOS}
    for file, text in {
            **found, SHEET: 'contact sheet', RECORD: 'record'}.items():
        if (experiment.folder / file).is_file():
            yield file, text


def _sheet(experiment: Experiment, files: Mapping[str, str]) -> str:
    return _picture(experiment.folder / SHEET) if SHEET in files else ''


def _side_by_side(experiment: Experiment, files: Mapping[str, str]) -> str:
    r"""Template, photos and result of a product, and what was measured."""
    settings = experiment.settings
    shown = []
    if settings.get('src_video'):
        shown.append(('template', _still(Path(settings['src_video']))))
    for photo in settings.get('target_image') or ():
        shown.append(('photo', _picture(Path(photo), 480)))
    shown.append(('result', _video(experiment, files)))
    prompt = settings.get('target_prompt')
    told = [text.format(experiment.metrics[name]) for name, text in REPORT
            if isinstance(experiment.metrics.get(name), (int, float))]
    return ''.join((
        f'<p class="{experiment.status}">{escape(experiment.error)}</p>'
        if experiment.error else '',
        '<div class="row">', *(
            f'<figure>{what}<figcaption>{name}</figcaption></figure>'
            for name, what in shown), '</div>',
        f'<p>{escape(str(prompt))}</p>' if prompt else '',
        f'<p class="told">{escape(", ".join(told))}</p>' if told else ''))


def _video(experiment: Experiment, files: Mapping[str, str]) -> str:
    if experiment.result not in files:
        return f'<span class="{experiment.status}">{experiment.status}</span>'
    path = experiment.folder / experiment.result
    try:
        poster = f' poster="{still_uri(path, path.stat().st_mtime_ns)}"'
    except (OSError, ValueError):
        poster = ''
    return (
        f'<video src="{_address(experiment.name)}/{experiment.result}"'
        f'{poster} preload="none" muted loop controls playsinline></video>')


def _still(path: Path) -> str:
    try:
        return _image(still_uri(path, path.stat().st_mtime_ns))
    except (OSError, ValueError) as error:
        return escape(str(error))


def _picture(path: Path, width: int | None = None) -> str:
    try:
        changed = path.stat().st_mtime_ns
        return _image(picture_uri(path, changed, width) if width
                      else picture_uri(path, changed))
    except (OSError, ValueError) as error:
        return escape(str(error))


def _image(source: str) -> str:
    return f'<img alt="" loading="lazy" src="{source}">'


def _definitions(facts: Mapping[str, str]) -> str:
    return ''.join(
        f'<div><dt>{escape(k)}</dt> <dd>{escape(v)}</dd></div>'
        for k, v in facts.items())


def _address(name: str) -> str:
    return quote(os.fsencode(name))


def _breakable(name: str) -> str:
    return escape(name).replace('_', '_<wbr>')
