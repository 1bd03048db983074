r"""The benchmark's measures against values worked out by hand, and in use."""
import json
import math
from random import Random

import pytest
import torch
import torch.nn.functional as F

from wan.synth import (
    TUNE_SEEDS,
    Article,
    Clip,
    Light,
    Motion,
    Pose,
    Scene,
    render_background,
    render_clip,
    sample_clip,
    sample_product,
    swap,
    visible_mask,
)
from wan.synth.bench.measures import (
    FLOOR,
    MARGIN,
    checkerboard,
    colour_error,
    cropped,
    edit_region,
    gradient_error,
    measure,
    overlap,
    product_error,
)
from wan.synth.bench.silhouette import displacement_error, mask_iou, seen
from wan.utils.metrics import MAX_PSNR, ssim


def test_overlap_of_a_found_mask():
    known = torch.zeros(2, 4, 4)
    known[:, 1:3, 1:3] = .6  # antialiased: half a pixel and more is product
    known[:, 0, 0] = .4
    found = torch.zeros(2, 4, 4)
    found[:, 1:3, 1:4] = 1
    assert overlap(found, known) == pytest.approx(4 / 6)
    assert overlap((known > .5).float(), known) == 1
    assert overlap(None, known) == 0


PERFECT = {
    'product_error': 0, 'colour_error': 0, 'structure': 1,
    'gradient_error': 0, 'checkerboard': 0, 'background_psnr': MAX_PSNR,
    'background_ssim': 1, 'mask_iou': 1, 'displacement_error': 0}
SIZE = 3, 2, 64, 64


def pair(number):
    r"""Truth, source, both masks and the background of a swap."""
    clip = sample_clip(TUNE_SEEDS[number], frames=5)
    new = swap(clip, sample_product(Random(number)))
    return (render_clip(new), render_clip(clip), visible_mask(new),
            visible_mask(clip), render_background(clip))


def moving_pair():
    r"""A disc that goes 32 pixels to the right in place of a star."""
    clip = Clip(Article('star', 'solid', ('blue',)),
                Scene('wooden', 'ivory', light=Light(strength=1.0)),
                Motion(Pose(size=0.4), dx=0.5), frames=5)
    new = swap(clip, Article('disc', 'striped', ('red', 'white')))
    return (render_clip(new), render_clip(clip), visible_mask(new),
            visible_mask(clip), render_background(clip))


def block(top=20, left=20, height=24, width=24):
    r"""A mask of a rectangle, the same in both frames."""
    mask = torch.zeros(SIZE[1:])
    mask[:, top:top + height, left:left + width] = 1
    return mask


def blurred(video, sigma=1.0):
    offset = torch.arange(-4., 5.)
    kernel = torch.softmax(-offset.square() / (2 * sigma**2), 0)
    kernel = (kernel[:, None] * kernel).expand(3, 1, 9, 9)
    frames = F.pad(video.transpose(0, 1), (4, 4, 4, 4), 'replicate')
    return F.conv2d(frames, kernel, groups=3).transpose(0, 1)


@pytest.mark.parametrize('number', range(4))
def test_the_truth_is_perfect(number):
    truth, *rest = pair(number)
    got = measure(truth, truth, *rest)
    assert {name: got[name] for name in PERFECT} == pytest.approx(
        PERFECT, abs=1e-6)
    assert 0 < got['consistency'] < 1 and got['motion'] > 0
    assert json.loads(json.dumps(got)) == got


def test_same_clips_same_numbers():
    truth, source, *rest = pair(4)
    edited = (0.7 * truth + 0.3 * source).to(torch.bfloat16)
    first = measure(edited, truth, source, *rest)
    assert first == measure(edited.clone(), truth, source, *rest)


def test_a_copy_of_the_source_has_its_background_and_the_old_product():
    truth, source, new, old, background = moving_pair()
    got = measure(source, truth, source, new, old, background)
    assert got['background_psnr'] == MAX_PSNR and got['background_ssim'] == 1
    share = (new > 0.5) & (old > 0.5), (new > 0.5) | (old > 0.5)
    overlap, either = (part.sum((1, 2)) for part in share)
    # An outline's pixels count as seen from less than half of a cover on.
    assert got['mask_iou'] == pytest.approx(
        (overlap / either).mean().item(), abs=0.04)
    assert got['displacement_error'] < 0.5  # both go the same way
    error = (source - truth).abs().mean(0) / 2
    assert got['product_error'] == pytest.approx(
        (error * new).sum().item() / new.sum().item(), rel=1e-4)
    assert got['product_error'] > 0.2 and got['structure'] < 0.3


def test_an_empty_scene_shows_no_product():
    truth, source, new, old, background = moving_pair()
    got = measure(background, truth, source, new, old, background)
    assert got['mask_iou'] == 0
    # Displacements of 8, 16, 24 and 32 pixels, all missed.
    assert got['displacement_error'] == pytest.approx(20, abs=0.1)
    assert got['background_psnr'] == MAX_PSNR


def test_a_frozen_clip_is_consistent_and_does_not_move():
    truth, source, new, old, background = moving_pair()
    edited = truth[:, :1].expand_as(truth)
    got = measure(edited, truth, source, new, old, background)
    assert got['consistency'] == pytest.approx(1) and got['motion'] == 0
    assert got['displacement_error'] > 5


@pytest.mark.parametrize('number', range(4))
def test_blur_and_noise_hardly_hide_the_product(number):
    truth, *rest = pair(number)
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    got = measure(blurred(truth) + 0.05 * noise, truth, *rest)
    assert got['mask_iou'] > 0.87
    assert got['displacement_error'] < 0.6
    assert 24 < got['background_psnr'] < 32
    assert got['colour_error'] < 0.02 < got['product_error'] < 0.08


def test_another_pattern_has_the_place_but_not_the_look():
    truth, source, new, old, background = moving_pair()
    clip = Clip(Article('disc', 'solid', ('green',)),
                Scene('wooden', 'ivory', light=Light(strength=1.0)),
                Motion(Pose(size=0.4), dx=0.5), frames=5)
    got = measure(render_clip(clip), truth, source, new, old, background)
    assert got['mask_iou'] > 0.99 and got['displacement_error'] < 0.05
    assert got['product_error'] > 0.3 and got['colour_error'] > 0.3
    assert got['gradient_error'] > 0.03


def test_product_error_weighs_by_the_mask():
    mask = torch.zeros(SIZE[1:])
    mask[:, 0], mask[:, 1] = 0.25, 0.75
    edited = torch.zeros(SIZE)
    edited[:, :, 1], edited[:, :, 2:] = 0.4, 1.0
    got = product_error(edited, torch.zeros(SIZE), mask)
    assert got == pytest.approx(0.75 * 0.2)


def test_colour_error_sees_colours_and_no_fine_pattern():
    mask, truth = block(), torch.zeros(SIZE)
    shifted = truth - 0.3
    assert colour_error(shifted, truth, mask) == pytest.approx(0.15, rel=1e-5)
    stripes = truth.clone()
    stripes[..., ::2], stripes[..., 1::2] = 0.5, -0.5
    assert product_error(stripes, truth, mask) == pytest.approx(0.25)
    assert colour_error(stripes, truth, mask) < 0.02
    # What lies outside does not reach in.
    outside = torch.where(mask == 1, shifted, 1.0)
    assert colour_error(outside, truth, mask) == pytest.approx(0.15, rel=1e-5)


def test_gradient_error_is_the_slope_and_not_the_outline():
    mask, truth = block(), torch.zeros(SIZE)
    place = torch.arange(64.) / 64
    slope = (0.6 * place + 0.8 * place[:, None]).expand(SIZE)
    assert gradient_error(slope, truth, mask) == pytest.approx(
        1 / 128, rel=1e-4)
    inside = torch.where(mask == 1, truth, 1.0)
    assert gradient_error(inside, truth, mask) == 0
    assert gradient_error(slope + 0.5, slope, mask) < 1e-6


def board(side, shift=0):
    sign = (torch.arange(64) + shift) // side % 2 * 2 - 1.
    return sign[:, None] * sign


@pytest.mark.parametrize('side', [16, 8])
@pytest.mark.parametrize('corner', [(0, 0), (5, 3)])
def test_checkerboard_on_a_flat_product(side, corner):
    mask, truth = block(*corner, 48, 48), torch.zeros(SIZE)
    amplitude = 0.04
    edited = truth + 2 * amplitude * board(side)
    got = checkerboard(edited, truth, mask)
    # The local mean takes some of the coarser one.
    lowest = {16: 0.35, 8: 0.9}[side]
    full = amplitude**2 / FLOOR
    assert 1 + lowest * full < 2**got < 1 + 1.05 * full
    assert checkerboard(truth, edited, mask) == pytest.approx(-got)


def test_smooth_and_shifted_is_no_checkerboard():
    mask, truth = block(5, 3, 48, 48), torch.zeros(SIZE)
    place = torch.arange(64.) / 64
    for smooth in (truth + 0.5, (place * place[:, None]).expand(SIZE),
                   (place * math.pi).sin().expand(SIZE)):
        assert checkerboard(smooth, truth, mask) == pytest.approx(
            0, abs=0.15)
    # Half a square off the lattice: a pattern, no artefact of the model.
    edited = truth + 0.08 * board(16, shift=8)
    assert checkerboard(edited, truth, block(0, 0, 64, 64)) < 0.15


@pytest.mark.parametrize('number', range(3))
def test_checkerboard_on_a_rendered_product(number):
    truth, source, new, old, background = pair(number)
    sign = torch.arange(128) // 8 % 2 * 2 - 1.
    edited = truth + 0.1 * sign[:, None] * sign * new
    got = measure(edited, truth, source, new, old, background)
    assert got['checkerboard'] > 1
    assert got['colour_error'] < 0.01 and got['mask_iou'] > 0.95


def test_the_region_holds_all_that_differs_and_a_margin():
    truth, source, new, old, background = pair(2)
    region = edit_region(truth, source, background, new, old)
    outside = region == 0
    assert 0.3 < outside.float().mean() < 0.9
    assert torch.equal(truth[:, outside], background[:, outside])
    assert torch.equal(source[:, outside], background[:, outside])
    flat, mask = torch.zeros(SIZE), block(30, 30, 1, 1)
    region = edit_region(flat, flat, flat, mask, torch.zeros(SIZE[1:]))
    assert torch.equal(region, block(
        30 - MARGIN, 30 - MARGIN, 2 * MARGIN + 1, 2 * MARGIN + 1))


def test_a_shadow_on_the_background_is_no_product():
    ground = torch.tensor([0.7, 0.2, -0.3])[:, None, None, None].expand(SIZE)
    shaded = (ground + 1) * torch.linspace(0.5, 1, 64) - 1
    product = torch.where(block() == 1, -0.9, shaded)
    everywhere = torch.ones(SIZE[1:])
    found, known, sure = seen(everywhere, shaded, product, ground, block())
    assert not found.any()
    assert sure.float().mean() > 0.99 and (known == (block() == 1)).all()
    found, *_ = seen(everywhere, product, product, ground, block())
    assert (found == known).float().mean() > 0.99


def test_what_cannot_be_seen_in_the_truth_does_not_count():
    ground = torch.zeros(SIZE)
    truth = torch.where(block() == 1, 0.9, ground)
    truth[:, :, 32:] = 0.0  # the lower half is coloured like the ground
    everywhere = torch.ones(SIZE[1:])
    assert mask_iou(*seen(everywhere, truth, truth, ground, block())) == 1
    whole = torch.where(block() == 1, 0.9, ground)
    assert mask_iou(*seen(everywhere, whole, truth, ground, block())) == 1
    beside = torch.where(block(left=32) == 1, 0.9, ground)
    # Columns of 24, half of them in common; corners are rounded off.
    assert mask_iou(*seen(everywhere, beside, truth, ground, block())) < 0.34


def test_mask_iou_by_hand():
    sure = torch.ones(SIZE[1:]).bool()
    known, found = block() == 1, block(left=26) == 1
    assert mask_iou(known, known, sure) == 1
    assert mask_iou(found, known, sure) == pytest.approx(18 / 30)
    assert mask_iou(found, known, sure & known) == pytest.approx(18 / 24)
    assert mask_iou(~sure, known, sure) == 0
    assert mask_iou(~sure, ~sure, sure) == 1
    found[0] = known[0]
    assert mask_iou(found, known, sure) == pytest.approx((1 + 18 / 30) / 2)


def moving(step, start=10, frames=5):
    mask = torch.zeros(frames, 64, 64).bool()
    for t in range(frames):
        mask[t, 20:30, start + t * step:start + t * step + 8] = True
    return mask


def test_displacement_error_by_hand():
    known, sure = moving(3), torch.ones(5, 64, 64).bool()
    assert displacement_error(known, known, sure) == 0
    # Where it starts does not matter, how far it goes does.
    assert displacement_error(moving(3, 20), known, sure) == pytest.approx(0)
    assert displacement_error(moving(1), known, sure) == pytest.approx(5)
    assert displacement_error(~sure, known, sure) == pytest.approx(7.5)
    lost = known.clone()
    lost[4] = False
    assert displacement_error(lost, known, sure) == pytest.approx(3)
    unstarted = known.clone()
    unstarted[0] = False
    assert displacement_error(unstarted, known, sure) == pytest.approx(7.5)
    assert displacement_error(known[:1], ~known[:1], sure[:1]) == 0
    diagonal = known.transpose(1, 2)
    assert displacement_error(diagonal, known, sure) == pytest.approx(
        7.5 * math.sqrt(2))


def test_cropping_changes_no_value():
    truth, source, new, *_ = pair(0)
    mask, a, b = cropped(new, truth, source)
    assert mask.numel() < new.numel()
    assert mask.double().sum() == new.double().sum()
    assert ssim(a, b, mask) == pytest.approx(
        ssim(truth, source, new), abs=1e-5)
    for error in (product_error, colour_error, gradient_error):
        assert error(a, b, mask) == pytest.approx(
            error(truth, source, new), rel=1e-4)


@pytest.mark.parametrize('place, value, message', [
    (0, torch.zeros(3, 4, 128, 128), 'The edited clip is .* expected'),
    (2, torch.zeros(3, 5, 64, 64), 'The source is .* expected'),
    (3, torch.ones(3, 5, 128, 128), 'The new mask is .* expected'),
    (0, torch.full((3, 5, 128, 128), torch.nan), 'NaN'),
    (3, torch.zeros(5, 128, 128), 'nothing to measure'),
    (3, torch.eye(128).expand(5, -1, -1), 'no pixel with all its neighbours'),
    (4, torch.ones(5, 128, 128), 'nothing to measure'),
])
def test_what_cannot_be_measured(place, value, message):
    truth, *rest = moving_pair()
    clips = [truth, truth, *rest]
    clips[place] = value
    with pytest.raises(ValueError, match=message):
        measure(*clips)
