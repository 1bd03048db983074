r"""The rows of the benchmark: which methods, with which settings.

What all edits have in common stands first; a row names only what is its own.
Ablations change one setting of the reference at a time, starting from `REF`.
"""
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from wan.edit_config import PRESETS, EditConfig
from wan.refdrop.config import LAYERS, READERS, ROPES, RefConfig
from wan.sparse import DENSE, SparseConfig
from wan.step_cache import NO_CACHE, StepCacheConfig
from wan.utils.flags import names

EDIT = EditConfig(
    sample_steps=25, strength=0.7, sample_guide_scale=7.5,
    fg_zeta_scale=1e-3, bg_zeta_scale=1e-1, collage_zeta_scale=0.)
# The pull toward the template where no mask says where it may be strong.
UNMASKED = replace(EDIT, bg_zeta_scale=1e-2)
SDEDIT = replace(EDIT, edit_method='sdedit', sample_guide_scale=5.0)
FLOWEDIT = replace(
    EDIT, edit_method='flowedit', sample_guide_scale=7.5, src_guide_scale=2.5)
QUICK_STEPS = 8

# Where the ablations start.
REF = RefConfig(ref_c=PRESETS['strong']['ref_c'], ref_t='0.7')
# What the paper and the design's first version say, nothing else tuned.
PLAIN_REF = RefConfig(ref_c=(0.5,))
BEST_REF, BEST_EDIT = (
    replace(settings, **{name: PRESETS['best'][name] for name in names})
    for settings, names in (
        (RefConfig(), ('ref_c', 'ref_t')),
        (EDIT, ('collage_zeta_scale', 'sample_guide_scale'))))

KINDS = ('copy', 'round_trip', 'truth', 'ceiling', 'paste', 'edit', 'attempt')
# Those that need no model.
BOUNDS = ('copy', 'truth', 'paste')
CAPTIONS = ('full', 'hidden')
FAMILIES = {
    'bound': 'no edit', 'paste': 'no model', 'text': 'text only',
    'attempt': 'public attempt', 'reference': 'with the photo'}
MASKS = ('true', 'velocity', 'words', 'none')


@dataclass(frozen=True)
class Row:
    r"""A method and its settings.

    Args:
        name: as `--rows` takes it.
        title: what it is, for readers.
        family: key of `FAMILIES`.
        kind: 'copy' of the template, its 'round_trip' through the VAE, the
            'truth' itself, the 'ceiling' (the truth's round trip), the
            photo's 'paste' (see `collage`), an 'edit', or an 'attempt': the
            public one's way of reading the photo, see `attempt`.
        edit: of the loop.
        ref: of the photo; None edits by text alone.
        caption: 'full' or 'hidden', see `Pair.prompts`.
        mask: of the product: the 'true' one of the template, found by
            'velocity' or by 'words', or 'none'.
        sparse, step_cache: where, and in which steps, it is evaluated.
        taken: how its photos were, of `bench.depth.pairs.PHOTOS`; '' where
            there is one way, or where it reads none.
        control: whether it is run with the wrong photo too.
        against: the name of a row that it is compared with, pair by pair.
    """
    name: str
    title: str
    family: str = 'reference'
    kind: str = 'edit'
    edit: EditConfig = EDIT
    ref: RefConfig | None = None
    caption: str = 'hidden'
    mask: str = 'true'
    sparse: SparseConfig = DENSE
    step_cache: StepCacheConfig = NO_CACHE
    taken: str = ''
    control: bool = True
    against: str = ''

    @property
    def reads(self) -> bool:
        r"""Whether it is shown a photo."""
        return self.ref is not None or self.kind == 'paste'

    @property
    def needs_model(self) -> bool:
        r"""Whether a checkpoint has a part in it."""
        return self.kind not in BOUNDS

    @property
    def photos(self) -> tuple[str, ...]:
        r"""The photos it is run with; 'wrong' is the control."""
        if not self.reads:
            return ('none',)
        return ('right', 'wrong') if self.control else ('right',)

    def key(self, **facts: object) -> str:
        r"""A hash of everything a result depends on.

        Rows of the same settings have the same key, and share results.

        Args:
            facts: what is outside the row: checkpoint, seeds, versions.
        """
        settings = asdict(self)
        for name in ('name', 'title', 'family', 'control', 'against'):
            del settings[name]
        text = json.dumps(settings | facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def unmasked(row: Row) -> Row:
    r"""The row without any mask, and with the whole photo."""
    ref = row.ref and replace(
        row.ref, ref_key_mask=False, ref_query_mask=False)
    return replace(row, mask='none', edit=UNMASKED, ref=ref)


def _attempt(c: float) -> Row:
    r"""Who reads, and how, is fixed by the kind; c alone is free."""
    ref = RefConfig(ref_c=(c,), ref_branches='all')
    return unmasked(Row(
        f'attempt_c{c:g}', f'public attempt, c {c:g}', 'attempt', 'attempt',
        ref=ref))


FULL = Row(
    'flowalign_full', 'FlowAlign, prompt tells all', 'text', caption='full')
HIDDEN = Row(
    'flowalign_hidden', 'FlowAlign, prompt hides the appearance', 'text')
STRONG = Row('strong', 'RefDrop, t 0.7, c 0.7', ref=REF)
PLAIN = Row('refdrop', 'RefDrop, t 0, c 0.5', ref=PLAIN_REF)
# What the photo does without any attention to it.
COLLAGE = Row(
    'collage', 'FlowAlign toward the collage, no bank', edit=BEST_EDIT,
    ref=replace(BEST_REF, ref_c=(0.,)))
BEST = Row(
    'best', 'RefDrop and collage, best settings', edit=BEST_EDIT,
    ref=BEST_REF)

MAIN: tuple[Row, ...] = (
    Row('copy', 'copy of the template', 'bound', 'copy'),
    Row('round_trip', 'template through the VAE', 'bound', 'round_trip'),
    Row('ceiling', 'truth through the VAE', 'bound', 'ceiling'),
    Row('paste', 'photo pasted over the old product', 'paste', 'paste'),
    Row('sdedit', 'SDEdit, prompt tells all', 'text', edit=SDEDIT,
        caption='full', mask='none'),
    Row('flowedit', 'FlowEdit, prompt tells all', 'text', edit=FLOWEDIT,
        caption='full', mask='none'),
    FULL,
    HIDDEN,
    _attempt(0.2),
    _attempt(0.5),
    unmasked(replace(
        PLAIN, name='refdrop_unmasked', title='RefDrop, t 0, no masks')),
    PLAIN,
    STRONG,
    COLLAGE,
    BEST,
    replace(PLAIN, name='refdrop_found', mask='velocity',
            title='RefDrop, t 0, c 0.5, mask found'),
    replace(BEST, name='best_found', mask='velocity',
            title='RefDrop and collage, best settings, mask found'),
)
QUICK: tuple[Row, ...] = tuple(
    replace(row, edit=replace(row.edit, sample_steps=QUICK_STEPS))
    for row in MAIN if row.name in (
        'copy', 'paste', 'flowalign_full', 'flowalign_hidden',
        'attempt_c0.5', 'refdrop', 'best'))


def _varied(
    axis: str, field: str, values: Iterable, edit: EditConfig = EDIT, **others
) -> tuple[Row, ...]:
    r"""Rows that differ in one field of `REF`; names have no commas."""
    return tuple(
        Row(f'{axis}={_label(value)}', f'{axis} {_label(value)}', edit=edit,
            ref=replace(REF, **{field: value}, **others))
        for value in values)


def _edited(
    axis: str, row: Row, field: str, values: Iterable[float]
) -> tuple[Row, ...]:
    r"""Rows that differ in one field of the loop."""
    return tuple(
        replace(row, name=f'{axis}={value:g}', title=f'{axis} {value:g}',
                edit=replace(row.edit, **{field: value}))
        for value in values)


def _label(value: object) -> str:
    if isinstance(value, tuple):
        return '+'.join(f'{number:g}' for number in value)
    return str(value).replace(',', '+')


def _masks() -> tuple[Row, ...]:
    r"""Who is held to the product, and where the mask comes from."""
    base = Row('masks=both', 'masks both', ref=REF)
    parts = [replace(base, name=f'masks={name}', title=f'masks {name}',
                     ref=replace(REF, ref_key_mask=keys,
                                 ref_query_mask=queries))
             for name, keys, queries in (
                 ('keys', True, False), ('queries', False, True),
                 ('neither', False, False))]
    found = [replace(base, name=f'masks={mask}', title=f'masks by {mask}',
                     mask=mask) for mask in ('velocity', 'words')]
    off = replace(base, name='masks=none', title='no masks')
    return base, *parts, *found, unmasked(off)


def _gates() -> tuple[Row, ...]:
    r"""Whether c is the gate, or one softmax over photo and video is."""
    phantom = {name: value for name, value in PRESETS['phantom'].items()
               if name in names(RefConfig)}
    settings = {
        'constant': {'ref_c': (0.3,)},
        'joint': {'ref_c': (0.5,), 'ref_gate': 'joint'},
        'phantom': phantom}
    return tuple(
        Row(f'gate={name}', f'gate {name}', ref=RefConfig(**changes))
        for name, changes in settings.items())


def refined_from(level: float, steps: int = 20) -> EditConfig:
    r"""The collage noised to a sigma, and sampled from there."""
    return replace(
        BEST_EDIT, edit_method='refine',
        # Even steps, of which the last ones start at the level.
        sample_shift=1., sample_steps=steps, strength=level)


def _lit() -> tuple[Row, ...]:
    r"""Light of the model, detail of the photo."""
    edits = {'pull': BEST_EDIT} | {
        f'{level:g}': refined_from(level) for level in (.5, .7, .85)}
    return tuple(
        replace(COLLAGE, name=f'lit={name}{"_detail" * detail}',
                title=f'lit {name}{", detail kept" * detail}',
                edit=replace(edit, collage_detail=detail))
        for name, edit in edits.items() for detail in (False, True))


GUIDANCES = (2., 4., 7.5, 12.)
WEIGHTS = tuple((c,) for c in (0., 0.1, 0.2, 0.3, 0.5, 0.7, 1.))
PULLS = (0., 0.03, 0.07, 0.15, 0.3, 0.6)
LEVELS = ('0', '0.3', '0.5', '0.7', 'match', '0.3,0.5,0.7')
# One setting each: what is on the horizontal axis of its plot.
ABLATIONS: dict[str, tuple[Row, ...]] = {
    'c': _varied('c', 'ref_c', WEIGHTS),
    'c_clean': _varied('c_clean', 'ref_c', WEIGHTS, ref_t='0'),
    # What a user without a mask of the product gets.
    'c_found': tuple(
        replace(row, mask='velocity')
        for row in _varied('c_found', 'ref_c', WEIGHTS, ref_t='0')),
    # And with one: what the bank adds where the collage leads.
    'c_collage': _varied(
        'c_collage', 'ref_c', WEIGHTS, ref_t='0', edit=replace(
            EDIT, collage_zeta_scale=BEST_EDIT.collage_zeta_scale)),
    'branches': _varied('branches', 'ref_branches', READERS),
    'rope': _varied('rope', 'ref_rope', ROPES),
    't': _varied('t', 'ref_t', LEVELS),
    'noised': _varied(
        'noised', 'ref_t', ('0.3', '0.5', '0.7', 'match'), ref_noised=True),
    'layers': _varied('layers', 'ref_layers', LAYERS),
    'stats': _varied('stats', 'ref_stats', ('none', 'norm', 'full')),
    'masks': _masks(),
    'gate': _gates(),
    'lit': _lit(),
    'pull': _edited('pull', STRONG, 'collage_zeta_scale', PULLS),
    'pull_alone': _edited(
        'pull_alone', replace(STRONG, ref=replace(REF, ref_c=(0.,))),
        'collage_zeta_scale', PULLS),
    'guidance': _edited('guidance', HIDDEN, 'sample_guide_scale', GUIDANCES),
    'guidance_best': _edited(
        'guidance_best', BEST, 'sample_guide_scale', GUIDANCES),
}
VARIED = tuple(row for rows in ABLATIONS.values() for row in rows)
GRID = MAIN + VARIED
