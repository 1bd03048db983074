r"""Seeded sampling and the checks of the scene's dataclasses."""
from collections import Counter
from dataclasses import replace
from itertools import combinations

import pytest

from wan.synth import (
    TEST_SEEDS,
    TRAIN_SEEDS,
    TUNE_SEEDS,
    Article,
    Clip,
    Motion,
    Prop,
    Scene,
    sample_clip,
    swap,
)
from wan.synth.scene import PRODUCT_COLOURS, SURFACE_COLOURS
from wan.synth.shapes import PATTERNS, SHAPES
from wan.synth.surfaces import SURFACES

CLIPS = [sample_clip(seed) for seed in range(3000)]


def test_same_seed_same_clip():
    assert sample_clip(7) == sample_clip(7)
    assert len(set(CLIPS)) == len(CLIPS)
    assert sample_clip(7, 96, 5) == replace(sample_clip(7), size=96, frames=5)


def test_seeds_of_training_and_reporting_are_disjoint():
    for a, b in combinations((TRAIN_SEEDS, TUNE_SEEDS, TEST_SEEDS), 2):
        assert a.stop <= b.start or b.stop <= a.start
        assert len(a) and len(b)


@pytest.mark.parametrize('read, names', [
    (lambda clip: clip.product.shape, SHAPES),
    (lambda clip: clip.product.pattern, PATTERNS),
    (lambda clip: clip.product.colours[0], PRODUCT_COLOURS),
    (lambda clip: clip.scene.surface, SURFACES),
    (lambda clip: clip.scene.colour, SURFACE_COLOURS),
])
def test_attributes_are_uniform(read, names):
    counts, mean = Counter(map(read, CLIPS)), len(CLIPS) / len(names)
    assert set(counts) == set(names)
    assert max(abs(n - mean) for n in counts.values()) < 5 * mean ** 0.5


def test_attributes_are_independent():
    pairs = Counter((clip.product.shape, clip.product.colours[0])
                    for clip in CLIPS)
    mean = len(CLIPS) / len(SHAPES) / len(PRODUCT_COLOURS)
    chi2 = sum((pairs[shape, colour] - mean) ** 2 / mean
               for shape in SHAPES for colour in PRODUCT_COLOURS)
    assert chi2 < 125  # 79 degrees of freedom: p < 0.001 beyond 124


def test_motion_varies():
    def moved(name):
        return sum(bool(getattr(clip.motion, name)) for clip in CLIPS)
    for name in ('dx', 'turn', 'growth', 'pan_x', 'pan_y', 'zoom'):
        assert 0.1 * len(CLIPS) < moved(name) < 0.9 * len(CLIPS)
    occluded = sum(any(prop.front for prop in clip.scene.props)
                   for clip in CLIPS)
    assert 0.1 < occluded / len(CLIPS) < 0.2


def test_swap_changes_the_product_only():
    product = Article('star', 'striped', ('red', 'white'))
    other = swap(CLIPS[0], product)
    assert other.product == product
    assert replace(other, product=CLIPS[0].product) == CLIPS[0]


@pytest.mark.parametrize('make, message', [
    (lambda: Article('blob', 'solid', ('red',)), 'shape'),
    (lambda: Article('star', 'tartan', ('red', 'blue')), 'pattern'),
    (lambda: Article('star', 'solid', ('mauve',)), 'colour'),
    (lambda: Article('star', 'solid', ('red', 'blue')), '1 different'),
    (lambda: Article('star', 'striped', ('red',)), '2 or 3 different'),
    (lambda: Article('star', 'striped', ('red', 'red')), '2 or 3 different'),
    (lambda: Prop('tree', 'tan', 0, 0, 1), 'prop'),
    (lambda: Scene('lawn', 'mint'), 'surface'),
    (lambda: Scene('plain', 'red'), 'colour'),
    (lambda: Clip(CLIPS[0].product, CLIPS[0].scene, Motion(), frames=0),
     '0 of 128'),
])
def test_bad_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()
