r"""Masks on pixels, latent and tokens, against closed forms."""
import math

import pytest
import torch

from wan.product.filters import blur, dilate, erode, otsu, spread
from wan.product.masks import (
    Region,
    boxes,
    composite,
    feather,
    mask_to_latent,
    token_mask,
    upsample_mask,
)


def square(shape, rows, columns):
    mask = torch.zeros(shape)
    mask[..., slice(*rows), slice(*columns)] = 1
    return mask


# filters


def test_blur_is_a_gaussian():
    x = torch.zeros(3, 1, 31)
    x[0, 0, 15], x[1, 0, 0] = 1, 1
    x[2] = 0.3
    y = blur(x, 2., -1)
    want = torch.exp(-(torch.arange(31.) - 15).square() / 8)
    want[(torch.arange(31) - 15).abs() > 6] = 0
    assert torch.allclose(y[0, 0], want / want.sum(), atol=1e-7)
    # The edge continues: half of the kernel and its middle see the edge.
    assert abs(y[1, 0, 0] - (1 + want.max() / want.sum()) / 2) < 1e-6
    assert torch.allclose(y[2], x[2], atol=1e-7)
    assert blur(x, 0, -1) is x
    assert torch.equal(blur(x.transpose(0, 2), 2., 0), y.transpose(0, 2))


def test_dilate_and_erode():
    mask = square((1, 12, 12), (4, 7), (5, 9))
    assert torch.equal(dilate(mask, 2), square((1, 12, 12), (2, 9), (3, 11)))
    assert torch.equal(erode(dilate(mask, 2), 2), mask)
    assert torch.equal(erode(torch.ones(1, 4, 4), 1), torch.ones(1, 4, 4))


def test_spread_stays_in_its_region():
    within = square((1, 40, 40), (0, 40), (0, 19)) \
        + square((1, 40, 40), (0, 40), (20, 40))
    within[0, 1:39, 5] = 0  # a way round it must be found
    seeds = torch.zeros(1, 40, 40)
    seeds[0, 20, 0] = 1
    want = within.clone()
    want[..., 20:] = 0
    assert torch.equal(spread(seeds, within), want)


def test_spread_does_not_pass_corners():
    within = 1 - torch.eye(9)[None]
    seeds = torch.zeros(1, 9, 9)
    seeds[0, 8, 0] = 1
    assert torch.equal(spread(seeds, within)[0], torch.ones(9, 9).tril(-1))


def test_otsu_against_every_threshold():
    generator = torch.Generator().manual_seed(0)
    low = 0.25 + 0.06 * torch.randn(3000, generator=generator)
    high = 0.7 + 0.08 * torch.randn(500, generator=generator)
    x = torch.cat([low, high]).clamp(0, 1)

    def between(cut):
        a, b = x[x <= cut], x[x > cut]
        return len(a) * len(b) * float(a.mean() - b.mean())**2

    best = max(between(i / 256) for i in range(30, 226))
    assert between(otsu(x)) > 0.999 * best
    # In the gap between two values: its middle.
    assert abs(otsu(torch.tensor([0.2] * 9 + [0.8])) - 0.5) < 0.01


# pixels and latent


def test_mask_to_latent_frames():
    # Each latent frame sees its own four frames, the first only frame 0.
    for frame, latent in ((0, 0), (1, 1), (4, 1), (5, 2), (8, 2)):
        mask = torch.zeros(9, 32, 48)
        mask[frame, 8:16, 16:32] = 1
        got = mask_to_latent(mask, (16, 3, 4, 6))
        want = torch.zeros(3, 4, 6)
        want[latent, 1, 2:4] = 1
        assert torch.equal(got, want)


def test_mask_to_latent_joins_frames_and_takes_the_share():
    mask = torch.zeros(5, 8, 16)
    for frame in range(1, 5):  # a bar that moves: together 4 of 8 columns
        mask[frame, :, frame] = 1
    assert mask_to_latent(mask, (2, 1, 2), 0.49)[1, 0].tolist() == [1, 0]
    with pytest.raises(ValueError, match='marks nothing'):
        mask_to_latent(mask, (2, 1, 2), 0.51)


def test_mask_to_latent_of_an_image_and_of_another_size():
    mask = square((1, 60, 100), (15, 30), (50, 75))
    got = mask_to_latent(mask, (3, 4, 4))
    assert torch.equal(got, square((3, 4, 4), (1, 2), (2, 3)))


def test_mask_to_latent_refuses():
    with pytest.raises(ValueError, match=r'8 frames.* 1 or .* 9'):
        mask_to_latent(torch.ones(8, 16, 16), (3, 2, 2))
    with pytest.raises(ValueError, match='marks nothing'):
        mask_to_latent(torch.zeros(9, 16, 16), (3, 2, 2))


def test_upsample_is_undone_by_mask_to_latent():
    generator = torch.Generator().manual_seed(0)
    latent = torch.rand(4, 6, 8, generator=generator).gt(0.5).float()
    pixels = upsample_mask(latent, (3, 13, 48, 64))
    assert pixels.shape == (13, 48, 64)
    assert torch.equal(mask_to_latent(pixels, latent.shape), latent)
    assert torch.equal(pixels[5:9, ::8, ::8], latent[2].expand(4, -1, -1))


# tokens and boxes


def test_token_mask_counts_area():
    mask = torch.zeros(2, 32, 48)
    mask[0, :16, :8] = 1  # half of token 0
    mask[0, 16:, 16:23] = 1  # less than half of token 4
    mask[1, 16:, 32:] = 0.6
    got = token_mask(mask, (2, 2, 3))
    assert got.dtype == torch.bool and got.nonzero().flatten().tolist() \
        == [0, 11]
    assert token_mask(mask, (2, 2, 3), 0.4)[4]


def test_token_mask_keeps_the_fullest_token_of_each_frame():
    mask = torch.zeros(3, 32, 32)
    mask[0, 20, 20:24] = 1
    mask[1, :16, :16] = 1
    mask[1, 20, 20:24] = 1
    assert token_mask(mask, (3, 2, 2)).nonzero().flatten().tolist() == [3, 4]


def test_boxes():
    mask = torch.zeros(6, 8, 9)
    mask[1, 2:5, 3:7] = 1
    mask[4, 0, 8] = 1
    mask[4, 7, 1] = 1
    first, second = [2, 3, 5, 7], [0, 1, 8, 9]
    got = boxes(mask)
    assert got.dtype == torch.int64
    assert got.tolist() == [first] * 3 + [second] * 3
    assert boxes(mask.bool()).equal(got)
    # Between two frames as near: the earlier.
    assert boxes(mask[[1, 0, 4]]).tolist() == [first, first, second]
    assert boxes(torch.zeros(2, 3, 4)).tolist() == [[0, 0, 3, 4]] * 2


# composite


@pytest.mark.parametrize('radius', [0, 1, 5, 12])
def test_feather_is_exact_inside_and_outside(radius):
    mask = square((2, 64, 64), (24, 40), (20, 40))
    soft = feather(mask, radius)
    reach = dilate(mask, radius)
    assert (soft[mask == 1] == 1).all() and (soft[reach == 0] == 0).all()
    if radius > 1:
        edge = soft[(reach == 1) & (mask == 0)]
        assert edge.min() < 0.1 and edge.max() > 0.9
        line = soft[0, 32, 40:]
        assert (line.diff() <= 0).all()  # falls outwards


def test_composite():
    generator = torch.Generator().manual_seed(0)
    edited, source = (
        torch.rand(3, 2, 64, 64, generator=generator) * 2 - 1
        for _ in range(2))
    mask = square((2, 64, 64), (24, 40), (20, 40))
    out = composite(edited, source, mask, 8)
    inside = mask.bool().expand_as(out)
    outside = (dilate(mask, 8) == 0).expand_as(out)
    assert torch.equal(out[inside], edited[inside])
    assert torch.equal(out[outside], source[outside])
    between = ~inside & ~outside
    low, high = torch.minimum(edited, source), torch.maximum(edited, source)
    assert ((out >= low - 1e-6) & (out <= high + 1e-6))[between].all()
    assert not torch.equal(out[between], source[between])
    assert torch.equal(composite(edited, source, mask * 0), source)
    assert torch.equal(composite(edited, source, mask * 0 + 1), edited)


def test_feather_reach_is_whole():
    # The kernel of sigma k / 3 must reach k and no further.
    assert all(math.ceil(3 * (k / 3)) == k for k in range(1, 500))


# Region


def test_region_grows_joins_and_goes_back_to_pixels():
    mask = torch.zeros(1, 48, 64)
    mask[:, 16:24, 16:24] = 1
    region = Region.given(mask, (2, 6, 8))
    assert region.cells.sum() == 2 and region.limits and region.found
    grown = Region.given(mask, (2, 6, 8), grow=1)
    assert grown.cells.sum() == 2 * 9
    other = torch.zeros(5, 48, 64)
    assert region.joined(other) is region
    other[0, :8, :8] = 1
    both = region.joined(other)
    assert both.cells.sum() == 3 and both.cells[0, 0, 0] == 1
    pixels = both.pixels((3, 5, 48, 64))
    assert pixels.shape == (5, 48, 64) and pixels[1:].sum() == 4 * 64
    assert not Region(torch.ones(2, 6, 8)).limits


def test_tokens_of_a_region_are_mostly_product_and_have_boxes():
    cells = torch.zeros(1, 6, 8)
    cells[:, 2:4, 2:5] = 1  # one token and half of the next
    region = Region(cells)
    assert region.tokens((1, 3, 4)).nonzero().flatten().tolist() == [5]
    assert region.boxes((1, 3, 4)).tolist() == [[1, 1, 2, 2]]
