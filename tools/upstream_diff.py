r"""Compare the public interface of Wan2.1 with ours.

    python tools/upstream_diff.py [PATH_TO_WAN21_CHECKOUT] [--html FILE]

The checkout is only parsed, never imported or run; its commit is read from
its .git, and one at another commit is compared all the same. Without one, the
recorded tables in tests/data stand in for it. Compared are names, signatures
and defaults of every module, command-line flags, configuration values and the
keys and shapes of checkpoints (always the recorded ones: they cannot be read
from source). Ours counts as Python sees it: an inherited method is there. On
either side, what a module imports, or does only as a program, is no interface.

A name is `same`, `added`, `changed` or `left out`. The rule between the
middle two: what is valid upstream must stay valid and mean the same. New
names, new parameters with a default, a default for a required parameter and
further choices of a flag are `added` and need no reason. A removed, renamed
or moved parameter, another default and another value are `changed`. `changed`
and `left out` need a reason in upstream_diff.yaml. What lies inside a class or
module that is left out is not listed again.

Exit status: 0 all explained, 1 a difference without a reason or a reason
without a difference, 2 no Wan2.1 checkout at the path.
"""
import argparse
import sys
from collections import Counter
from pathlib import Path

import yaml

# run as a file, this folder is on the path and the repository's root is not
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import settings
from tools.checkout import RECORDED, check_checkout, described
from tools.comparison import STATES, Report, compare, explain
from tools.diff_html import html_report
from tools.interface import Interface, read_interface, recorded_interface
from tools.recorded import table

ROOT = Path(__file__).resolve().parent.parent
REASONS = Path(__file__).with_suffix('.yaml')


def upstream(checkout: Path | None) -> Interface:
    r"""Upstream's interface: of a checkout, or as recorded.

    Raises:
        ValueError: the checkout is none of Wan2.1, or cannot be parsed.
    """
    keys = settings.recorded_keys(table('state_dicts')['models'])
    if checkout is None:
        return (recorded_interface(table('api'))
                | settings.recorded_flags(table('cli'))
                | settings.recorded_configs(table('configs')) | keys)
    check_checkout(checkout)
    try:
        return (read_interface(checkout) | settings.read_flags(checkout)
                | settings.read_configs(checkout) | keys)
    except (SyntaxError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f'{checkout} cannot be read: {error!r}') from error


def ours() -> Interface:
    r"""Our interface: names by reading, values by importing."""
    return (read_interface(ROOT) | settings.our_flags()
            | settings.our_configs()
            | settings.our_keys(table('state_dicts')['models']))


def text_report(report: Report) -> str:
    r"""Per module its counts and every row that is not the same."""
    lines = [f'Upstream: {report.source}', '']
    for group, rows in report.groups().items():
        counts = Counter(row.state for row in rows)
        lines.append(f'{group}: ' + ', '.join(
            f'{counts[s]} {s}' for s in STATES if counts[s]))
        for row in rows:
            if row.state != 'same':
                lines.append(f'  {row.state:<8}  {row.name or "(all)"}'
                             + f'  {row.detail}' * bool(row.detail))
            if row.reason:
                lines.append(f'            because: {row.reason}')
    lines += ['', 'Total: ' + ', '.join(
        f'{report.counts()[s]} {s}' for s in STATES)]
    lines += [f'Without a reason: {row.full_name} ({row.state})'
              for row in report.unexplained]
    lines += [f'Reason without a difference: {s}' for s in report.stale]
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description='Compare the public interface of Wan2.1 with ours.')
    parser.add_argument(
        'checkout', nargs='?', type=Path,
        help='a Wan2.1 checkout; the recorded tables if left out')
    parser.add_argument(
        '--html', type=Path, metavar='FILE', help='write a report to FILE')
    args = parser.parse_args(argv)
    try:
        rows = compare(upstream(args.checkout), ours())
    except ValueError as error:
        parser.error(str(error))
    source = described(args.checkout) if args.checkout else (
        f'the recorded tables (Wan2.1 at {RECORDED})')
    report = Report(source, rows)
    report.stale = explain(rows, yaml.safe_load(REASONS.read_text('utf-8')))
    print(text_report(report))
    if args.html:
        args.html.write_text(html_report(report), encoding='utf-8')
    return int(bool(report.unexplained or report.stale))


if __name__ == '__main__':
    sys.exit(main())
