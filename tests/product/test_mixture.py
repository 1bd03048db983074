r"""Mixtures and the mask they make, on cases whose answer is known."""
import math

import pytest
import torch

from wan.product.mixture import FLOOR, Mixture, segment

FRAMES, HEIGHT, WIDTH = 5, 48, 64


def cloud(mean, deviation, count, seed):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 3, generator=generator)
    return torch.tensor(mean) + deviation * noise


def test_two_clouds_are_told_apart():
    points = torch.cat([cloud((-.6, 0, .2), .1, 3000, 0),
                        cloud((.5, .4, -.3), .2, 1000, 1)])
    mixture = Mixture.start(points, torch.ones(4000), 2).fitted(
        points, torch.ones(4000), 20)
    order = mixture.mean[:, 0].argsort()
    assert (mixture.share[order] - torch.tensor([.75, .25])).abs().max() < .01
    want = torch.tensor([[-.6, 0, .2], [.5, .4, -.3]])
    assert (mixture.mean[order] - want).abs().max() < .03
    for cov, deviation in zip(mixture.cov[order], (.1, .2), strict=True):
        assert (cov - (deviation**2 + FLOOR) * torch.eye(3)).abs().max() < .01


def test_the_density_is_that_of_gaussians():
    mixture = Mixture(
        torch.tensor([.3, .7]), torch.tensor([[0., .1, .2], [.5, -.5, 0.]]),
        torch.stack([torch.diag(torch.tensor([.1, .2, .3])),
                     .2 * torch.eye(3) + .05]))
    points = cloud((0., 0., 0.), .5, 20, 2)
    want = torch.logsumexp(torch.stack([
        share.log() + torch.distributions.MultivariateNormal(
            mean, cov).log_prob(points)
        for share, mean, cov in zip(*mixture, strict=True)]), 0)
    assert (mixture.log_density(points) - want).abs().max() < 1e-4


def test_weights_count_like_copies():
    points = cloud((0., 0., 0.), .4, 60, 3)
    weights = (torch.arange(60) % 3).float()
    copies = points.repeat_interleave(weights.long(), 0)
    one, two = (Mixture.start(points, weights, 2).fitted(p, w, 5)
                for p, w in ((points, weights),
                             (copies, torch.ones(len(copies)))))
    for a, b in zip(one, two, strict=True):
        assert (a - b).abs().max() < 1e-4


def scene(colours=((.8, -.6, -.6), (.7, .7, -.5))):
    r"""A striped rectangle that moves over a plain ground, and its mask."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(3, FRAMES, HEIGHT, WIDTH, generator=generator)
    video = .05 * noise - .3
    mask = torch.zeros(FRAMES, HEIGHT, WIDTH)
    for t in range(FRAMES):
        mask[t, 14:34, 20 + t:40 + t] = 1
    stripes = (torch.arange(WIDTH) // 5 % 2).bool()
    for colour, where in zip(colours, (stripes, ~stripes), strict=True):
        paint = torch.tensor(colour)[:, None, None, None]
        video = torch.where((mask > 0) & where, paint, video)
    return video, mask


def wide():
    r"""Log-odds by cells of 8 that cover about twice the rectangle."""
    odds = torch.full((FRAMES, HEIGHT // 8, WIDTH // 8), -2.)
    odds[:, 1:5, 2:5] = 2.
    return odds


def overlap(a, b):
    return float((a * b).sum() / torch.maximum(a, b).sum())


def test_a_map_that_is_too_wide_shrinks_to_the_product():
    video, truth = scene()
    covered = (wide() > 0).float().mean() / truth.mean()
    assert covered > 1.9
    assert overlap(segment(video, wide()), truth) > .9


def test_a_shifted_map_comes_back():
    video, truth = scene()
    assert overlap(segment(video, wide().roll(1, 2)), truth) > .9


def test_another_thing_of_the_same_colours_is_left_alone():
    video, truth = scene()
    video[:, :, :8, 56:] = video[:, :, 20:28, 28:36]
    assert overlap(segment(video, wide()), truth) > .9


def test_a_small_piece_does_not_count():
    video, truth = scene()
    video[:, :, 10:12, 20:24] = video[:, :, 20:22, 28:32]
    found = segment(video, wide())
    assert found[:, :11].sum() == 0 and overlap(found, truth) > .9


def test_it_is_the_same_every_time():
    video, _ = scene()
    assert torch.equal(segment(video, wide()), segment(video, wide()))


@pytest.mark.parametrize('value', [-2., -math.inf, 2., math.inf])
def test_without_a_map_nothing_is_found(value):
    video = torch.zeros(3, FRAMES, HEIGHT, WIDTH)
    assert segment(video, torch.full((FRAMES, 6, 8), value)) is None


@pytest.mark.parametrize('size', [(48, 64), (130, 260), (20, 30)])
def test_the_mask_has_the_videos_size(size):
    video, _ = scene()
    video = torch.nn.functional.interpolate(video, size)
    found = segment(video, wide())
    assert found.shape == (FRAMES, *size)
    assert set(found.unique().tolist()) == {0., 1.}
