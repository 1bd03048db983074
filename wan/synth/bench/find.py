r"""How well the product is found: the masks alone, without an edit."""
import logging
from collections.abc import Sequence

from wan.utils.progress import progress

from .rows import CAPTIONS, Row
from .run import find
from .stats import bootstrap
from .store import Setup

log = logging.getLogger('wan.synth.bench')

ROWS = tuple(
    Row(f'{mask}_{caption}', f'found by {mask}, {caption} prompt',
        caption=caption, mask=mask)
    for caption in CAPTIONS for mask in ('velocity', 'words'))


def found(setup: Setup, pairs: int) -> dict[str, list[float]]:
    r"""By row the IoU of each pair's mask with the true one."""
    values = {row.name: [] for row in ROWS}
    with progress(pairs, 'find') as bar:
        for number in range(pairs):
            for row in ROWS:
                values[row.name].append(find(setup, number, row))
            bar.update()
    return values


def tell(values: dict[str, Sequence[float]], seed: int = 0) -> None:
    r"""Log mean, interval, and worst pair of each row."""
    for name, ious in values.items():
        mean, low, high = bootstrap(ious, seed)
        worst = min(range(len(ious)), key=ious.__getitem__)
        log.info('%s: IoU %.3f [%.3f, %.3f] over %d pairs, worst %.3f '
                 '(pair %d)', name, mean, low, high, len(ious), ious[worst],
                 worst)
