r"""The report of tools/upstream_diff.py as one HTML file."""
from collections import Counter
from html import escape

from tools.comparison import STATES, Report, Row

STYLE = """
:root { --back: #fff; --text: #1f2328; --dim: #656d76; --line: #d8dee4;
  --same: #57606a; --added: #1a7f37; --changed: #9a6700;
  --left-out: #0969da; --bad: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --back: #0d1117;
  --text: #e6edf3; --dim: #8b949e; --line: #30363d; --same: #8b949e;
  --added: #3fb950; --changed: #d29922; --left-out: #58a6ff;
  --bad: #ff7b72; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 66rem;
  margin: 2rem auto; padding: 0 1rem; color: var(--text);
  background: var(--back); }
code, summary b { font: 13px/1.5 ui-monospace, monospace; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem;
  border-top: 1px solid var(--line); overflow-wrap: anywhere; }
th { color: var(--dim); font-weight: normal; }
.counts td, .counts th { text-align: right; }
.counts :first-child { text-align: left; }
td.state { width: 5.5rem; white-space: nowrap; }
td.name { width: 19rem; }
details { border: 1px solid var(--line); border-radius: 6px;
  margin: .5rem 0; }
summary { cursor: pointer; padding: .45rem .7rem; }
summary span { margin-left: .8rem; }
p.same { color: var(--dim); margin: 0; padding: .5rem .7rem;
  border-top: 1px solid var(--line); }
ul { max-height: 16rem; overflow: auto; }
.reason { color: var(--dim); }
.same { color: var(--same); } .added { color: var(--added); }
.changed { color: var(--changed); } .left-out { color: var(--left-out); }
.bad { color: var(--bad); font-weight: 600; }
"""
_LISTED = 100


def html_report(report: Report) -> str:
    r"""A self-contained page: totals, problems, one section per module."""
    sections = ''.join(
        _section(group, rows) for group, rows in report.groups().items())
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<title>Wan2.1 and ours</title><style>{STYLE}</style>'
        '<h1>Wan2.1 and ours</h1>'
        f'<p>Upstream: {escape(report.source)}</p>'
        f'{_totals(report)}{_verdict(report)}<h2>By module</h2>{sections}'
        '</html>\n')


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
    kinds = {
        'Python names': lambda group: group.startswith(('wan', 'generate')),
        'command-line flags': lambda group: group == 'cli',
        'configuration values': lambda group: group.startswith('configs'),
        'checkpoint keys': lambda group: group.startswith('state_dicts'),
    }
    lines = {
        kind: Counter(r.state for r in report.rows if belongs(r.group))
        for kind, belongs in kinds.items()
    } | {'all': report.counts()}
    head = ''.join(
        f'<th class="{_class(s)}">{s}</th>' for s in STATES)
    body = ''.join(
        f'<tr><td>{kind}</td>'
        + ''.join(f'<td>{counts[s]}</td>' for s in STATES) + '</tr>'
        for kind, counts in lines.items())
    return f'<table class="counts"><tr><th></th>{head}</tr>{body}</table>'


def _section(group: str, rows: list[Row]) -> str:
    counts = Counter(row.state for row in rows)
    badges = ''.join(
        f'<span class="{_class(s)}">{counts[s]} {s}</span>'
        for s in STATES if counts[s])
    shown = ''.join(_row(row) for row in rows if row.state != 'same')
    table = f'<table>{shown}</table>' if shown else ''
    is_open = ' open' if any(row.unexplained for row in rows) else ''
    return (f'<details{is_open}><summary><b>{escape(group)}</b>{badges}'
            f'</summary>{table}{_same([r for r in rows if r.state == "same"])}'
            '</details>')


def _row(row: Row) -> str:
    reason = '<span class="bad">no reason given</span>' if (
        row.unexplained) else escape(row.reason)
    detail = f'<code>{escape(row.detail)}</code><br>' * bool(row.detail)
    return (f'<tr><td class="state {_class(row.state)}">{row.state}</td>'
            f'<td class="name"><code>{escape(row.name) or "(all)"}</code></td>'
            f'<td>{detail}<span class="reason">{reason}</span></td></tr>')


def _same(rows: list[Row]) -> str:
    if not rows:
        return ''
    names = ', '.join(escape(row.name) for row in rows[:_LISTED])
    more = f' and {len(rows) - _LISTED} more' * (len(rows) > _LISTED)
    return f'<p class="same">The same: <code>{names}</code>{more}</p>'


def _class(state: str) -> str:
    return state.replace(' ', '-')
