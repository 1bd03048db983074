r"""Metrics against values worked out by hand and a window-by-window SSIM."""
import json
import math

import pytest
import torch

from wan.utils.metrics import (
    MAX_PSNR,
    background_report,
    motion_amount,
    motion_difference,
    psnr,
    ssim,
    temporal_consistency,
)

SHAPE = (3, 4, 16, 20)


def noise(seed=0, shape=SHAPE):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator) * 2 - 1


def product_mask(shape=SHAPE[1:]):
    mask = torch.zeros(shape)
    mask[:, 4:10, 5:12] = 1
    return mask


def constant(value, shape=SHAPE):
    return torch.full(shape, value)


@pytest.mark.parametrize('error', [2., 0.2, 1e-3])
def test_psnr_of_a_constant_error(error):
    a = constant(-1.)
    assert psnr(a, a + error) == pytest.approx(
        20 * math.log10(2 / error), abs=2e-3)


def test_psnr_of_equal_videos_is_a_number_json_can_hold():
    assert psnr(noise(), noise()) == MAX_PSNR
    assert json.loads(json.dumps(psnr(noise(), noise()))) == MAX_PSNR


def test_psnr_counts_only_the_mask():
    mask, a = product_mask(), noise()
    b = torch.where(mask == 1, a + 0.1, a + 7)
    assert psnr(a, b, mask) == pytest.approx(20 * math.log10(20), abs=1e-4)
    assert psnr(a, b, mask[None]) == psnr(a, b, mask)


def test_psnr_weighs_by_a_soft_mask():
    a = constant(0., (3, 1, 2, 1))
    b = a.clone()
    b[:, :, 0] = 1
    mask = torch.tensor([0.25, 0.75]).view(1, 2, 1)
    assert psnr(a, b, mask) == pytest.approx(10 * math.log10(4 / 0.25))


def test_ssim_of_equal_videos_is_one():
    assert ssim(noise(), noise()) == 1
    assert ssim(noise(), noise(), product_mask()) == 1


@pytest.mark.parametrize('x, y', [(0.5, 0.3), (-0.8, 0.8), (0., 1.)])
def test_ssim_of_flat_frames_is_the_luminance_term(x, y):
    c1 = 0.02**2
    expected = (2 * x * y + c1) / (x * x + y * y + c1)
    assert ssim(constant(x), constant(y)) == pytest.approx(expected, abs=1e-4)


def window_ssim(x, y, weight):
    r"""One window of Wang et al. (2004), written out."""
    mean_x, mean_y = (weight * x).sum(), (weight * y).sum()
    var_x = (weight * (x - mean_x)**2).sum()
    var_y = (weight * (y - mean_y)**2).sum()
    cov = (weight * (x - mean_x) * (y - mean_y)).sum()
    c1, c2 = 0.02**2, 0.06**2
    return (2 * mean_x * mean_y + c1) * (2 * cov + c2) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))


@pytest.mark.parametrize('masked', [False, True])
def test_ssim_is_the_mean_of_its_windows(masked):
    a, b = noise(1, (3, 2, 13, 14)), noise(2, (3, 2, 13, 14))
    b = (a + b) / 2
    counted = torch.ones(2, 13, 14)
    if masked:
        counted[:, 3:9, 4:] = 0
        counted[1, :, :3] = 0.5
    rows, columns = torch.arange(13.), torch.arange(14.)
    total = 0.
    for c in range(3):
        for t, i, j in counted.nonzero().tolist():
            distance = (rows - i)[:, None]**2 + (columns - j)**2
            near = ((rows - i).abs() <= 5)[:, None] & (
                (columns - j).abs() <= 5)
            weight = torch.exp(-distance / 4.5) * near * counted[t]
            total += counted[t, i, j] * window_ssim(
                a[c, t].double(), b[c, t].double(), weight / weight.sum())
    expected = float(total / counted.sum() / 3)
    got = ssim(a, b, counted if masked else None)
    assert got == pytest.approx(expected, abs=1e-6)


def test_what_the_mask_hides_does_not_reach_over_its_edge():
    a, b, hidden = noise(1), noise(2), product_mask() == 1
    other = torch.where(hidden, noise(3), b)
    ground = 1 - product_mask()
    for metric in (psnr, ssim, motion_difference):
        assert metric(a, b) != metric(a, other)
        assert metric(a, b, ground) == metric(a, other, ground)


def test_ssim_falls_with_noise_and_is_symmetric():
    a = noise(1)
    near, far = a + 0.05 * noise(2), a + 0.5 * noise(2)
    assert 1 > ssim(a, near) > ssim(a, far) > 0
    assert ssim(a, far) == pytest.approx(ssim(far, a), abs=1e-7)


def ramp(step, frames=5):
    r"""A video that brightens by `step` each frame."""
    return torch.arange(frames).view(1, -1, 1, 1) * step * torch.ones(
        3, frames, 4, 4)


def test_motion_of_ramps():
    assert motion_amount(ramp(0.1)) == pytest.approx(0.1)
    assert motion_difference(ramp(0.1), ramp(0.1) - 0.7) == pytest.approx(
        0, abs=1e-6)
    assert motion_difference(ramp(0.1), ramp(-0.05)) == pytest.approx(0.15)


def test_a_frozen_video_differs_by_the_others_motion():
    moving, frozen = noise(), constant(0.3)
    assert motion_amount(frozen) == 0
    assert motion_difference(moving, frozen) == pytest.approx(
        motion_amount(moving))
    assert temporal_consistency(frozen) == 1
    assert temporal_consistency(moving) < 0.5


def test_motion_and_consistency_count_only_the_mask():
    mask = product_mask()
    video = torch.where(mask == 1, noise(), torch.zeros(SHAPE))
    assert motion_amount(video, 1 - mask) == 0
    assert motion_amount(video, mask) > 0
    assert temporal_consistency(video, 1 - mask) == 1
    assert temporal_consistency(video, mask) < 0.5


def test_one_frame_has_no_motion():
    frame = noise(shape=(3, 1, 8, 8))
    assert motion_amount(frame) == 0
    assert motion_difference(frame, -frame) == 0
    assert temporal_consistency(frame) == 1


def test_report_tells_the_background_from_the_product():
    template, mask = noise(1), product_mask()
    round_trip = template + 0.01
    result = torch.where(mask == 1, noise(2), round_trip)
    report = background_report(result, template, round_trip, mask)
    assert report['background_psnr'] == pytest.approx(
        report['ceiling_psnr'], abs=1e-3)
    assert report['ceiling_psnr'] == pytest.approx(
        20 * math.log10(200), abs=1e-3)
    assert report['background_psnr_round_trip'] == MAX_PSNR
    assert report['background_ssim_round_trip'] == 1
    assert report['background_ssim'] == report['ceiling_ssim'] < 1
    assert report['motion_difference'] > 0
    assert report['template_motion_amount'] == motion_amount(template)
    assert report['motion_amount'] == motion_amount(result)
    assert report['temporal_consistency'] == temporal_consistency(result)
    assert all(math.isfinite(v) for v in report.values())
    assert json.loads(json.dumps(report)) == report


@pytest.mark.parametrize('mask', [None, torch.ones(SHAPE[1:])])
def test_report_without_background_is_of_the_whole_frame(mask):
    a, b = noise(1), noise(2)
    report = background_report(a, b, b, mask)
    assert report['background_psnr'] == psnr(a, b)
    assert report['ceiling_ssim'] == 1
    without = background_report(a, b, mask=mask)
    assert without.items() <= report.items()
    assert not [name for name in without if 'ceiling' in name]


@pytest.mark.parametrize('metric', [psnr, ssim, motion_difference])
def test_shapes_that_do_not_fit_are_named(metric):
    a = noise()
    with pytest.raises(ValueError, match=r'\[3, 4, 16, 20\].*\[3, 3, 16, 20\]'):
        metric(a, a[:, 1:])
    with pytest.raises(ValueError, match=r'\[4, 16, 19\].*\[4, 16, 20\]'):
        metric(a, a, torch.ones(4, 16, 19))
    with pytest.raises(ValueError, match='0 everywhere'):
        metric(a, a, torch.zeros(4, 16, 20))
