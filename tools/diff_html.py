r"""The report of tools/upstream_diff.py as one HTML file.

It needs nothing from outside, and shows everything without its script, which
only searches and opens.
"""
from collections import Counter
from collections.abc import Iterable
from html import escape

from tools.comparison import STATES, Report, Row, share
from tools.diff_style import SCRIPT, STYLE

# What is compared -> whether a group belongs to it.
KINDS = {
    'Python names': lambda group: group.startswith(('wan', 'generate')),
    'command-line flags': lambda group: group == 'cli',
    'configuration values': lambda group: group.startswith('configs'),
    'checkpoint keys': lambda group: group.startswith('state_dicts'),
}


def html_report(report: Report) -> str:
    r"""A self-contained page: totals, problems, one section per module."""
    sections = ''.join(
        _section(group, rows) for group, rows in report.groups().items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>Wan2.1 and this fork</title><style>{STYLE}</style></head>'
        '<body><header><h1>Wan2.1 and this fork</h1>'
        f'<p class="dim">Wan2.1: {escape(report.source)}</p></header>'
        f'<main>{_headline(report)}{_verdict(report)}{_totals(report)}'
        f'<h2>By module</h2>{_CONTROLS}<p id="none" hidden>Nothing has that '
        f'in its name, value or reason.</p>{sections}</main>'
        f'<script>{SCRIPT}</script></body></html>\n')


_CONTROLS = (
    '<div id="controls" hidden><input id="search" type="search" '
    'placeholder="Search names, values, reasons" aria-label="Search">'
    + ''.join(
        f'<label class="{s.replace(" ", "-")}"><input type="checkbox" checked '
        f'value="{s.replace(" ", "-")}"> {s}</label>' for s in STATES)
    + '<button type="button" id="open">Open all</button>'
    '<button type="button" id="close">Close all</button></div>')


def _headline(report: Report) -> str:
    same, total = share(report.rows)
    return (f'<p class="headline"><strong>{_percent(same, total)}</strong> '
            f'of Wan2.1 is the same here: {same:,} of {total:,} names, flags, '
            f'values and checkpoint keys.</p>{_bar(report.rows)}')


def _bar(rows: Iterable[Row]) -> str:
    r"""Upstream's names by what has become of them."""
    sizes = Counter()
    for row in rows:
        sizes[row.state] += row.size
    del sizes['added']
    return '<div class="bar" aria-hidden="true">' + ''.join(
        f'<i class="{_class(s)}" style="flex:{sizes[s]}"></i>'
        for s in STATES if sizes[s]) + '</div>'


def _percent(part: int, whole: int) -> str:
    r"""Rounded down: only everything is 100 %."""
    return f'{part * 1000 // whole / 10:g} %' if whole else '-'


def _verdict(report: Report) -> str:
    problems = [
        f'{row.full_name} is {row.state} without a reason'
        for row in report.unexplained
    ] + [f'The reason for "{s}" matches nothing' for s in report.stale]
    if not problems:
        return '<p class="added">Every difference has a reason.</p>'
    items = ''.join(f'<li><code>{escape(p)}</code>' for p in problems)
    return f'<p class="bad">{len(problems)} to explain:</p><ul>{items}</ul>'


def _totals(report: Report) -> str:
    r"""One line of counts for each kind of thing that is compared."""
    lines = {
        kind: [row for row in report.rows if belongs(row.group)]
        for kind, belongs in KINDS.items()} | {'all': report.rows}
    head = ''.join(f'<th class="{_class(s)}">{s}</th>' for s in STATES)
    body = ''
    for kind, rows in lines.items():
        counts = Counter(row.state for row in rows)
        body += (f'<tr><th>{kind}</th><td>{_percent(*share(rows))}</td>'
                 + ''.join(f'<td>{counts[s]:,}</td>' for s in STATES)
                 + '</tr>')
    return (f'<table class="counts"><tr><th></th><th>the same</th>{head}</tr>'
            f'{body}</table><p class="dim">A module that one side lacks is '
            'one row here; the shares count the names in it.</p>')


def _section(group: str, rows: list[Row]) -> str:
    counts = Counter(row.state for row in rows)
    badges = ''.join(
        f'<span class="{_class(s)}">{counts[s]} {s}</span>'
        for s in STATES if counts[s])
    shown = ''.join(_row(row) for row in rows if row.state != 'same')
    table = ('<table class="sides"><tr><th>name</th><th>Wan2.1</th>'
             f'<th>here</th><th>reason</th></tr>{shown}</table>'
             if shown else '')
    is_open = ' open' if any(row.unexplained for row in rows) else ''
    return (f'<details class="module"{is_open}><summary><b>{escape(group)}</b>'
            f'{badges}</summary>{table}'
            f'{_same([r for r in rows if r.state == "same"])}</details>')


def _row(row: Row) -> str:
    if row.unexplained:
        reason = '<span class="bad">no reason given</span>'
    else:
        reason = escape(row.reason)
    theirs, ours = (
        f'<code>{escape(text)}</code>' if text else there
        for text, there in (
            (row.theirs, '' if row.state == 'added' else 'there'),
            (row.ours, '' if row.state == 'left out' else 'there')))
    # What a reader would have to look for in two long signatures.
    detail = escape(row.detail) if row.name else ''
    whole = f'the whole module, {escape(row.detail)}'
    return (
        f'<tr class="{_class(row.state)}"><td data-label="name">'
        f'<code>{escape(row.name) or whole}</code>'
        f'<small>{row.state}</small></td>'
        f'<td data-label="Wan2.1">{theirs}</td>'
        f'<td data-label="here">{ours}</td>'
        f'<td data-label="reason">{reason}'
        f'{f"<small>{detail}</small>" if detail else ""}</td></tr>')


def _same(rows: list[Row]) -> str:
    if not rows:
        return ''
    names = ' '.join(f'<code>{escape(row.name)}</code>' for row in rows)
    return (f'<details class="same"><summary>{len(rows):,} the same</summary>'
            f'<p>{names}</p></details>')


def _class(state: str) -> str:
    return state.replace(' ', '-')
