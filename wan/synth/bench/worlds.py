r"""The worlds that the benchmark has questions in."""
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from wan.jobs.checkpoint import EMBEDDED

from ..judge import (
    DEPTH_LABELS,
    DEPTH_WEIGHTS,
    LABELS,
    WEIGHTS,
)
from ..native import HEIGHT
from .answer import Question
from .costs import SETS
from .depth.pairs import make_depth_pair
from .depth.rows import DEPTH_SETS
from .edit import PairEditor
from .native_edit import NativeEditor
from .native_rows import NATIVE_SETS
from .pairs import make_native_pair, make_pair
from .rows import Row

OUT = Path('docs/quality')
# Sources that decide the clips and what is measured of an edit.
SHARED = (
    'synth/scene', 'synth/sampling', 'synth/shapes', 'synth/surfaces',
    'synth/drawing', 'synth/captions', 'synth/judge', 'synth/bench/answer',
    'synth/bench/edit', 'synth/bench/attempt', 'synth/bench/measures',
    'synth/bench/pairs', 'synth/bench/silhouette', 'synth/bench/velocities')


class World(NamedTuple):
    r"""A kind of questions, and what is usual there.

    Args:
        make: number, seeds, size, frames -> a pair.
        editor: runs rows on a pair.
        sources: see `SHARED`.
        checkpoint: folder of the model.
        judge: file of the judge's weights; None where it cannot read.
        labels: of the judge.
        sets: rows by name.
        pairs, size, frames: how many pairs, of what clips.
        out: folder of the report.
    """
    make: Callable[..., Question]
    editor: type[PairEditor]
    sources: tuple[str, ...]
    checkpoint: Path
    judge: Path | None
    labels: Mapping[str, tuple[str, ...]]
    sets: Mapping[str, tuple[Row, ...]]
    pairs: int
    size: int
    frames: int
    out: Path


WORLDS = {
    'flat': World(
        make_pair, PairEditor, (*SHARED, 'synth/render'), EMBEDDED, WEIGHTS,
        LABELS, SETS, 64, 128, 17, OUT),
    # Native templates are 24 frames a second; so many take a minute for a
    # pair. The judge knows square frames alone.
    'native': World(
        make_native_pair, NativeEditor,
        (*SHARED, 'synth/render', 'synth/native', 'synth/bench/native_edit',
         'synth/bench/native_measures'),
        EMBEDDED, None, LABELS, NATIVE_SETS, 24, HEIGHT, 41, OUT / 'native'),
    'depth': World(
        make_depth_pair, PairEditor,
        (*SHARED, 'synth/depth', 'synth/bench/depth/measures',
         'synth/bench/depth/pairs'),
        EMBEDDED.with_name('depth'), DEPTH_WEIGHTS, DEPTH_LABELS, DEPTH_SETS,
        64, 128, 17, OUT / 'depth'),
}
