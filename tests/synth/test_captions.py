r"""Captions: true, closed in vocabulary, and silent where they should be."""
import math
from dataclasses import replace
from random import Random

import pytest

from wan.synth import (
    VOCABULARY,
    Article,
    Clip,
    Light,
    Motion,
    Prop,
    Scene,
    caption,
    caption_without_appearance,
    full_caption,
    sample_clip,
)
from wan.synth.captions import compose, words
from wan.synth.scene import PRODUCT_COLOURS
from wan.synth.shapes import PATTERNS

CLIP = Clip(
    Article('star', 'striped', ('orange', 'white')),
    Scene('wooden', 'ivory', light=Light(math.pi), props=(
        Prop('ball', 'grey', 0.7, 0.7, 0.2),
        Prop('post', 'navy', 0.2, 0.4, 1.0, front=True))),
    Motion(dx=-0.4, dy=0.1, turn=1, growth=-0.2, zoom=0.3))


def test_full_caption():
    assert full_caption(CLIP) == (
        'a striped orange and white star slides left and turns clockwise and '
        'moves away on an ivory wooden table, beside a grey ball, behind a '
        'navy post, lit from the left, the camera zooms in.')


def test_caption_without_appearance():
    assert caption_without_appearance(CLIP) == full_caption(CLIP).replace(
        'striped orange and white ', '')
    for seed in range(200):
        found = set(words(caption_without_appearance(sample_clip(seed))))
        assert not found & (set(PRODUCT_COLOURS) | set(PATTERNS))
        assert sample_clip(seed).product.shape in found


def test_an_image_has_no_motion():
    assert full_caption(replace(CLIP, frames=1)) == (
        'a striped orange and white star on an ivory wooden table, beside a '
        'grey ball, behind a navy post, lit from the left.')


@pytest.mark.parametrize('motion, told', [
    (Motion(), 'lies still on'),
    (Motion(dx=0.3), 'slides right on'),
    (Motion(dx=0.1, dy=0.3), 'slides down on'),
    (Motion(dy=-0.3, turn=-1), 'slides up and turns counterclockwise on'),
    (Motion(growth=0.2), 'comes closer on'),
    (Motion(), 'the camera stands still.'),
    (Motion(pan_x=-0.2), 'the camera pans left.'),
    (Motion(pan_y=0.2), 'the camera pans down.'),
    (Motion(zoom=-0.2), 'the camera zooms out.'),
])
def test_motion_words(motion, told):
    assert told in full_caption(replace(CLIP, motion=motion))


@pytest.mark.parametrize('angle, side', [
    (0.1, 'the right'), (1.6, 'below'), (3.1, 'the left'), (-3.1, 'the left'),
    (-1.5, 'above')])
def test_light_words(angle, side):
    scene = replace(CLIP.scene, light=Light(angle))
    assert f'lit from {side},' in full_caption(replace(CLIP, scene=scene))


def test_vocabulary_is_closed_and_used():
    found = set()
    for seed in range(1500):
        clip, rng = sample_clip(seed), Random(seed)
        found |= set(words(full_caption(clip) + caption(clip, rng)))
    assert found == set(VOCABULARY)
    assert list(VOCABULARY) == sorted(set(VOCABULARY))


def test_attributes_are_left_out_at_random():
    assert caption(CLIP, Random(0)) == caption(CLIP, Random(0))
    assert caption(CLIP, Random(0), drop=0) == full_caption(CLIP)
    assert caption(CLIP, Random(0), drop=1) == 'a product on a surface.'
    rng = Random(1)
    texts = [caption(CLIP, rng) for _ in range(600)]
    for word in ('striped', 'orange', 'star', 'slides', 'wooden', 'ivory',
                 'ball', 'lit', 'camera'):
        share = sum(word in words(text) for text in texts) / len(texts)
        assert share == pytest.approx(0.7, abs=0.08)
    both = sum('white' in words(text) for text in texts) / len(texts)
    assert both == pytest.approx(0.49, abs=0.08)


def test_captions_are_true():
    for seed in range(300):
        clip, rng = sample_clip(seed), Random(seed)
        told = words(caption(clip, rng))
        known = [clip.product.pattern, *clip.product.colours]
        said = [word for word in told
                if word in PATTERNS or word in PRODUCT_COLOURS]
        assert said == [word for word in known if word in said]


def test_unknown_attribute():
    with pytest.raises(ValueError, match='Unknown attributes taste'):
        compose(CLIP, ['taste'])
