r"""Rows on native pairs: what the model sees of a large template, and how its
edit comes back."""
from dataclasses import dataclass, replace

from wan.product.view import CONTEXT, ENLARGED, MARGIN

from .rows import BEST, Row

SIGHTS = ('whole', 'middle', 'window')


@dataclass(frozen=True)
class NativeRow(Row):
    r"""A way to edit a template that is larger than what the model sees.

    Args:
        mask: 'true', 'found' in the whole frame, or found there and 'again'
            in the window.
        sight: what the model sees: the 'whole' frame with black beside it,
            the 'middle' of it, or a 'window' around the product.
        laid: the edit is laid over the template's own frames; else all of it
            is scaled up again.
        context, enlarged, margin: of the window, see `around`.
    """
    sight: str = 'window'
    laid: bool = True
    context: float = CONTEXT
    enlarged: float = ENLARGED
    margin: float = MARGIN

    @property
    def photos(self) -> tuple[str, ...]:
        r"""The right one: what another would do is told by square pairs."""
        return ('none',) if self.kind == 'copy' else ('right',)


def _row(name: str, title: str, **settings) -> NativeRow:
    return NativeRow(
        f'native_{name}', title, edit=BEST.edit, ref=BEST.ref, **settings)


COPY = NativeRow('native_copy', 'copy of the template', 'bound', 'copy')
PASTE = NativeRow(
    'native_paste', 'photo pasted over the old product', 'paste', 'paste')
WHOLE = _row(
    'whole', 'whole frame, scaled up again', sight='whole', laid=False)
GIVEN = _row('window', 'window, given mask')
FOUND = _row('found', 'window, mask found in the whole frame', mask='found')
CEILING = NativeRow(
    'native_ceiling', 'truth through the VAE, whole frame', 'bound',
    'ceiling', sight='whole')
MIDDLE = _row(
    'middle_laid', 'middle of the frame, laid over the template',
    sight='middle')
AGAIN = _row('again', 'window, mask found again in it', mask='again')
NATIVE: tuple[NativeRow, ...] = (
    COPY,
    PASTE,
    CEILING,
    replace(CEILING, name='native_window_ceiling', sight='window',
            title='truth through the VAE, window'),
    WHOLE,
    replace(WHOLE, name='native_whole_laid', laid=True,
            title='whole frame, laid over the template'),
    GIVEN,
    FOUND,
)


def _framed(name: str, values: tuple[float, ...]) -> tuple[NativeRow, ...]:
    return tuple(
        replace(GIVEN, name=f'{name}={value:g}', title=f'{name} {value:g}',
                **{name: value}) for value in values)


FRAMINGS = {
    'context': _framed('context', (1.4, 1.6, 1.9, 2.3)),
    'margin': _framed('margin', (0., 0.15, 0.3)),
}
VARIED = (MIDDLE, AGAIN) + tuple(
    row for rows in FRAMINGS.values() for row in rows)
NATIVE_SETS = {
    'main': NATIVE, 'ablations': VARIED, 'grid': NATIVE + VARIED, **FRAMINGS}
