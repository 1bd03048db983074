r"""What a thing covers and darkens lies within its window."""
import pytest
import torch

from wan.synth import Light, Product, Prop
from wan.synth.drawing import OUTLINES, Track, draw, locate
from wan.synth.shapes import SHAPES


@pytest.mark.parametrize('shape', OUTLINES)
def test_nothing_is_cut_at_the_window(shape):
    track = Track(*(torch.tensor([[[value]]]) for value in (0., 0., 0.6, 0.3)))
    window = locate(track, 128)
    assert window.x.size(1) < 128
    thing = (Product(shape, 'solid', ('red',)) if shape in SHAPES else
             Prop(shape, 'tan', 0, 0, 0.3))
    layer = draw(thing, window, Light(0.9, 1.0))
    for part in (layer.cover, layer.shadow):
        assert part.max() > 0.4
        for border in (part[:, 0], part[:, -1], part[..., 0], part[..., -1]):
            assert border.max() == 0
