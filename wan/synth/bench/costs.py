r"""Rows of what is saved, and what it costs in quality; and rows by name."""
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from wan.sparse import SparseConfig
from wan.step_cache import StepCacheConfig

from .rows import ABLATIONS, BEST, FULL, GRID, MAIN, PLAIN, VARIED, Row

RECIPES = {'text': FULL, 'bank': PLAIN, 'best': BEST}
MARGINS = (0, 1, 2)
THRESHOLDS = (0.3, 0.4, 0.6, 1.)


def _whole(recipe: str, mask: str = 'true') -> Row:
    r"""What evaluates all tokens in all steps."""
    base, given = RECIPES[recipe], {'true': 'given', 'velocity': 'found'}[mask]
    return replace(
        base, name=f'sparse={recipe}.{given}.full', mask=mask, control=False,
        title=f'{recipe}, mask {given}: all tokens',
        edit=replace(base.edit, composite=True))


def _sparse(recipe: str, mask: str, margins: Iterable[int]) -> Iterator[Row]:
    r"""An edit of all tokens, and of some, each against the first."""
    full, given = _whole(recipe, mask), {'true': 'given'}.get(mask, 'found')
    yield full
    for margin in margins:
        yield replace(
            full, name=f'sparse={recipe}.{given}.{margin}', against=full.name,
            title=f'{recipe}, mask {given}: margin {margin}',
            sparse=SparseConfig('share', margin))


def _cached(full: Row, recipe: str) -> Iterator[Row]:
    r"""An edit of all steps, and of some."""
    yield full
    for threshold in THRESHOLDS:
        yield replace(
            full, name=f'step_cache={recipe}.{threshold:g}',
            against=full.name, title=f'{recipe}: step cache {threshold:g}',
            step_cache=StepCacheConfig(threshold))


# What is saved, and what it costs in quality.
COSTS: dict[str, tuple[Row, ...]] = {
    'sparse': tuple(
        row for mask, margins in (('true', MARGINS), ('velocity', (0, 1)))
        for recipe in RECIPES for row in _sparse(recipe, mask, margins)),
    'step_cache': tuple(
        row for recipe in RECIPES for row in _cached(_whole(recipe), recipe)),
}


SETS = {
    'main': MAIN, 'ablations': VARIED, 'grid': GRID, **ABLATIONS, **COSTS}


def select(
    text: str, sets: Mapping[str, tuple[Row, ...]] = SETS
) -> tuple[Row, ...]:
    r"""The rows that `--rows` names.

    'main', 'ablations', 'grid' (both), or names of rows. The name of an
    ablation ('c', 'rope', ...) stands for all of its rows, and so does that
    of a comparison of costs ('sparse').

    Args:
        text: names, separated by commas.
        sets: of rows by name.

    Raises:
        ValueError: a name that no row has.
    """
    sets = {**sets, **{
        row.name: (row,) for rows in sets.values() for row in rows}}
    chosen: dict[str, Row] = {}
    for name in text.split(','):
        if name.strip() not in sets:
            short = ', '.join(known for known in sets if '=' not in known)
            raise ValueError(
                f'--rows has {name.strip()!r}; allowed: {short}, or a row of '
                'an ablation, such as c=0.1.')
        chosen |= {row.name: row for row in sets[name.strip()]}
    return tuple(chosen.values())
