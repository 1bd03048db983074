r"""What is shown of a catalogue."""
from collections.abc import Sequence
from html import escape

from . import shown
from .desk import url
from .shelf import Row
from .station import State

NONE = """<div class="empty"><h2>Your catalogue</h2><p>Results appear here as
they are made. The work goes on when you close the page.</p></div>"""


def template(state: State | None) -> str:
    r"""How far the template is, and what it looks like."""
    if state is None:
        return ''
    if not state.ended:
        return shown.progress(state)
    if state.status != 'done':
        return shown.failure(state.error or 'It was cancelled.')
    preview = state.files.get('preview')
    picture = shown.picture(
        preview, 'The template with the product that was found, and what '
        'the model sees') if preview else ''
    return f'<div class="result"><p><b>Prepared.</b></p>{picture}</div>'


def queue(rows: Sequence[Row], paused: bool) -> str:
    r"""All products, and what becomes of each."""
    if not rows:
        return '<p class="hint">Nothing is in it yet.</p>'
    counts = {}
    for row in rows:
        counts[row.status] = counts.get(row.status, 0) + 1
    told = ', '.join(f'{n} {status}' for status, n in counts.items())
    head = f'{told}{"; paused" if paused else ""}'
    return (f'<p role="status"><b>{escape(head)}.</b></p><ul>'
            + ''.join(map(_row, rows)) + '</ul>')


def _row(row: Row) -> str:
    photo = f'<img alt="" src="{url(row.photo)}">' if row.photo else '<i></i>'
    more = row.error or row.prompt or 'Give it words: what it shall show.'
    if row.status == 'running' and row.state is not None:
        more = shown.brief(row.state)
        if row.state.total > 1:
            more += f' Step {row.state.done} of {row.state.total}.'
    return (f'<li class="{row.status}">{photo}<div><b>{escape(row.name)}</b>'
            f'<span>{escape(more)}</span></div><em>{row.status}</em></li>')


def gallery(rows: Sequence[Row]) -> str:
    r"""What is finished."""
    if not rows:
        return NONE
    return '<div class="cards">' + ''.join(map(_card, rows)) + '</div>'


def _card(row: Row) -> str:
    return (f'<article>{shown.video(row.files["result"], row.name)}'
            f'<h3>{escape(row.name)}</h3><p>{escape(row.prompt)}</p>'
            f'{shown.downloads(row.files, shown.FILES)}</article>')
