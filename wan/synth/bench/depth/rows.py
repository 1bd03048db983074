r"""Rows in the world in depth: a row is a change of settings of another.

Names are those before `taken_as`, which gives each row that is shown a photo
once for each way photos are taken, as 'turning.any'.
"""
from collections.abc import Sequence
from dataclasses import replace

from wan.edit_config import EditConfig
from wan.product.collage import PASTES
from wan.refdrop.config import RefConfig
from wan.utils.flags import names

from ..rows import (
    BEST,
    COLLAGE,
    EDIT,
    FULL,
    HIDDEN,
    QUICK_STEPS,
    Row,
    refined_from,
)

# Weights of the photo's attention, guidance scales, and sigmas from which the
# collage is refined.
WEIGHTS, GUIDANCES, LEVELS = (.3, .5), (2., 7.5), (.5, .7, .85)
FEW_GUIDANCES = 1., 2., 3.  # a collage needs little


def variant(row: Row, name: str, title: str, **changes: object) -> Row:
    r"""A row with other settings.

    Args:
        changes: of `EditConfig`, of `RefConfig` or of the row itself.
    """
    for part, kind in (('edit', EditConfig), ('ref', RefConfig)):
        own = {key: changes.pop(key) for key in names(kind) if key in changes}
        if own:
            changes[part] = replace(getattr(row, part), **own)
    return replace(row, name=name, title=title, **changes)


def taken_as(rows: Sequence[Row], kinds: Sequence[str]) -> tuple[Row, ...]:
    r"""Rows of each way of taking photos; once those that read none."""
    return tuple(
        replace(row, name=f'{row.name}.{kind}', taken=kind) if kind else row
        for row in rows for kind in (kinds if row.reads else ('',)))


COPY = Row('copy', 'copy of the template', 'bound', 'copy')
TRUTH = Row('truth', 'the true answer', 'bound', 'truth')
CEILING = Row('ceiling', 'truth through the VAE', 'bound', 'ceiling')
FLAT = Row('paste', "today's paste", 'paste', 'paste')
PASTED = {'flat': FLAT} | {
    kind: variant(FLAT, kind, f'{kind} paste', collage=kind)
    for kind in PASTES if kind != 'flat'}
TEXT = variant(HIDDEN, 'text', 'text only')
TEXT_FULL = variant(FULL, 'text_full', 'text only, prompt tells all')
BANK = {
    (c, w): Row(
        f'bank_c{c:g}_w{w:g}', f'bank alone, c {c:g}, w {w:g}',
        edit=replace(EDIT, sample_guide_scale=w), ref=RefConfig(ref_c=(c,)))
    for c in WEIGHTS for w in GUIDANCES}
JOINT = variant(
    BANK[.5, 2.], 'joint_w2', 'photo and video in one softmax, w 2',
    ref_c=(1.,), ref_gate='joint')
PULLED = {
    kind: variant(COLLAGE, f'pull_{kind}', f'pull to the {kind} collage',
                  collage=kind) for kind in PASTES}
BESTS = {
    kind: variant(BEST, f'best_{kind}',
                  f'pull to the {kind} collage, and bank', collage=kind)
    for kind in PASTES}


def refined(
    kind: str, level: float, w: float = 1., c: float = 0.,
    detail: bool = False,
) -> Row:
    r"""Refined inside the mask, from a collage at a sigma.

    Args:
        level: the sigma.
        w: guidance scale.
        c: weight of the photo's attention.
        detail: whether the collage's detail stays.
    """
    name, title = f'refine_{kind}_{level:g}_w{w:g}', \
        f'{kind} collage refined from {level:g}, w {w:g}'
    if c:
        name, title = f'{name}_c{c:g}', f'{title}, and bank {c:g}'
    if detail:
        name, title = f'{name}_detail', f'{title}, its detail kept'
    return variant(
        PULLED[kind], name, title, edit=replace(
            refined_from(level), collage=kind, sample_guide_scale=w,
            collage_detail=detail), ref_c=(c,))


# What tune pairs have chosen, of those that draw all of the product, and of
# those that light it.
DRAWN = refined('turning', .7, 3.)
CHOSEN = refined('turning', .85, 3., detail=True)
REFINED = (
    *(refined('turning', level, w, detail=detail)
      for level in LEVELS for w in FEW_GUIDANCES for detail in (False, True)),
    *(refined('turning', .85, 3., c, detail)
      for c in WEIGHTS for detail in (False, True)),
    *(refined(kind, .85, 3., detail=True)
      for kind in PASTES if kind != 'turning'))

BOUNDS: tuple[Row, ...] = (COPY, TRUTH, *PASTED.values())
MAIN: tuple[Row, ...] = (
    COPY, CEILING, FLAT, PASTED['turning'], TEXT, TEXT_FULL, BANK[.5, 2.],
    replace(BESTS['flat'], control=False), replace(DRAWN, control=False),
    CHOSEN)
# The wrong photo is for what is reported.
CANDIDATES: dict[str, tuple[Row, ...]] = {
    name: tuple(replace(row, control=False) for row in rows)
    for name, rows in {
        'bank': tuple(BANK.values()),
        'joint': (JOINT,),
        'pull': tuple(PULLED.values()),
        'best': tuple(BESTS.values()),
        'refine': REFINED}.items()}
# What a user without a mask of the product gets.
FOUND = tuple(
    variant(row, f'found_{row.name}', f'{row.title}, mask found',
            mask='velocity') for row in (
        TEXT, BANK[.5, 2.], BESTS['flat'], CHOSEN))
CHOICES = (*PASTED.values(), TEXT, *(
    row for rows in CANDIDATES.values() for row in rows))
QUICK: tuple[Row, ...] = tuple(
    row if row.kind in ('copy', 'truth', 'paste') else
    variant(row, row.name, row.title, sample_steps=QUICK_STEPS)
    for row in (*BOUNDS, TEXT, BANK[.5, 2.], BESTS['turning'],
                refined('turning', .85, 3., .3)))
DEPTH_SETS: dict[str, tuple[Row, ...]] = {
    'main': MAIN, 'bounds': BOUNDS, 'choices': CHOICES, 'quick': QUICK,
    'found': FOUND, **CANDIDATES}
