r"""Two interfaces side by side: a state and a reason for every name."""
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from tools.interface import Interface, imported
from tools.literals import ANY, Symbol

STATES = ('same', 'added', 'changed', 'left out')
NEED_A_REASON = ('changed', 'left out')


@dataclass
class Row:
    r"""One name of either side, or of both.

    Args:
        group, name: `name` is empty where the row stands for its whole group.
        state: one of `STATES`.
        detail: what differs, in words.
        theirs, ours: the name's value on either side, as text.
        size: number of names that the row stands for.
        reason: of the difference.
    """

    group: str
    name: str
    state: str
    detail: str = ''
    theirs: str = ''
    ours: str = ''
    size: int = 1
    reason: str = ''

    @property
    def full_name(self) -> str:
        return f'{self.group}.{self.name}'.rstrip('.')

    @property
    def unexplained(self) -> bool:
        return self.state in NEED_A_REASON and not self.reason


@dataclass
class Report:
    r"""Rows in upstream's order, and reasons that match none of them."""

    source: str
    rows: list[Row]
    stale: list[str] = field(default_factory=list)

    @property
    def unexplained(self) -> list[Row]:
        return [row for row in self.rows if row.unexplained]

    def groups(self) -> dict[str, list[Row]]:
        out = {}
        for row in self.rows:
            out.setdefault(row.group, []).append(row)
        return out

    def counts(self) -> Counter:
        return Counter(row.state for row in self.rows)


def share(rows: Iterable[Row]) -> tuple[int, int]:
    r"""How many of upstream's names are the same, and how many there are."""
    sizes = Counter()
    for row in rows:
        sizes[row.state] += row.size
    return sizes['same'], sizes.total() - sizes['added']


def compare(theirs: Interface, ours: Interface,
            resolve: Callable = imported) -> list[Row]:
    r"""One row per name of either side.

    Args:
        theirs: upstream's interface.
        ours: our interface, as read.
        resolve: (group, name) -> our value where reading did not settle it,
            or None where we have no such name.
    """
    rows = []
    for group in theirs | ours:
        if group not in ours:
            rows.append(_whole(group, 'left out', theirs[group]))
        elif group not in theirs:
            rows.append(_whole(group, 'added', ours[group]))
        else:
            rows += _compare_group(
                group, theirs[group], ours[group], resolve)
    return rows


def _compare_group(group, theirs, ours, resolve) -> list[Row]:
    rows, folded = [], ()
    for name in theirs | ours:
        if name.startswith(folded):
            continue
        mine = ours.get(name)
        if name in theirs:
            if mine is None or mine is ANY:
                mine = resolve(group, name)
            row = Row(group, name, *_judge(theirs[name], mine),
                      _shown(theirs[name]), _shown(mine))
        else:
            row = Row(group, name, 'added', ours=_shown(mine))
        if row.state == 'left out' or name not in theirs:
            folded += (f'{name}.',)
        rows.append(row)
    return rows


def _judge(theirs, mine) -> tuple[str, str]:
    if mine is None:
        return 'left out', ''
    if theirs is ANY or theirs == mine:
        return 'same', ''
    if hasattr(theirs, 'changes') and type(theirs) is type(mine):
        broken, new = theirs.changes(mine)
        state = 'changed' if broken else 'added' if new else 'same'
        return state, '; '.join(broken + new)
    return 'changed', f'{theirs!r} -> {mine!r}'


def _whole(group, state, names) -> Row:
    r"""The row of a group that only one side has."""
    top = sum(name.rpartition('.')[0] not in names for name in names)
    inside = f'{top} name{"s" * (top != 1)} inside' if names else ''
    return Row(group, '', state, inside, size=max(top, 1))


def _shown(value) -> str:
    r"""A value as a page shows it; of a flag, what it takes."""
    if value is None or value is ANY:
        return ''
    return str(value) if isinstance(value, Symbol) else repr(value)


def explain(rows: list[Row], reasons: dict[str, dict[str, str]]) -> list[str]:
    r"""Give each row its reason.

    Args:
        rows: of `compare`; their `reason` is set.
        reasons: state -> pattern of full names -> reason.

    Returns:
        The patterns that match no row of their state.

    Raises:
        ValueError: a state needs no reason.
    """
    stale = []
    for state, patterns in reasons.items():
        if state not in NEED_A_REASON:
            raise ValueError(
                f'reasons are given for {NEED_A_REASON}, not {state!r}')
        for pattern, reason in (patterns or {}).items():
            found = [
                row for row in rows if row.state == state
                and fnmatchcase(row.full_name, pattern)
            ]
            for row in found:
                row.reason = row.reason or reason
            if not found:
                stale.append(f'{state}: {pattern}')
    return stale
