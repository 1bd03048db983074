r"""What a thing covers and darkens lies within its window."""
import math

import pytest
import torch

from wan.synth import Article, Light, Prop
from wan.synth.drawing import OUTLINES, Track, cover, draw, locate
from wan.synth.shapes import SHAPES


@pytest.mark.parametrize('shape', OUTLINES)
def test_nothing_is_cut_at_the_window(shape):
    track = Track(*(torch.tensor([[[value]]]) for value in (0., 0., 0.6, 0.3)))
    window = locate(track, (128, 128))
    assert window.x.size(1) < 128
    thing = (Article(shape, 'solid', ('red',)) if shape in SHAPES else
             Prop(shape, 'tan', 0, 0, 0.3))
    layer = draw(thing, window, Light(0.9, 1.0))
    for part in (layer.cover, layer.shadow):
        assert part.max() > 0.4
        for border in (part[:, 0], part[:, -1], part[..., 0], part[..., -1]):
            assert border.max() == 0


def test_area_of_a_block_is_the_closed_form():
    track = Track(*(torch.tensor([[[value]]]) for value in (0., 0., 0.4, 0.8)))
    window = locate(track, (128, 128))
    area = cover(Prop('block', 'tan', 0, 0, 0.8), window).sum().item()
    area *= (2 / 128 / 0.8) ** 2
    rounded = (4 - math.pi) * 0.08 ** 2  # what its corners lack
    assert area == pytest.approx(4 * 0.74 ** 2 - rounded, rel=0.01)
