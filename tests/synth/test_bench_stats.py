r"""Intervals against the closed form, and that they hold what they promise."""
import math

import pytest
import torch

from wan.synth.bench.stats import bootstrap, paired, summary


def normal(count, seed=0, repeats=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(repeats, count, generator=generator).double()


def test_interval_is_about_the_normal_one():
    values = normal(400)[0]
    mean, low, high = bootstrap(values, seed=1, resamples=4000)
    assert mean == pytest.approx(values.mean().item())
    width = 2 * 1.96 * values.std().item() / math.sqrt(400)
    assert high - low == pytest.approx(width, rel=0.06)
    assert low < mean < high


def test_intervals_hold_the_true_mean_as_often_as_they_say():
    held = 0
    for i, values in enumerate(normal(40, seed=2, repeats=200)):
        interval = bootstrap(values, seed=i, resamples=300, level=0.9)
        held += interval.low <= 0 <= interval.high
    assert 0.82 < held / 200 < 0.96


def test_same_seed_same_interval():
    values = normal(20)[0]
    assert bootstrap(values, 3) == bootstrap(values.tolist(), 3)
    assert bootstrap(values, 3) != bootstrap(values, 4)
    state = torch.get_rng_state()
    bootstrap(values, 3)
    assert torch.equal(torch.get_rng_state(), state)


def test_interval_moves_with_its_values():
    values = normal(30)[0]
    plain, moved = bootstrap(values, 5), bootstrap(2 * values + 3, 5)
    assert moved == pytest.approx([2 * end + 3 for end in plain])


def test_level_and_constants():
    values = normal(30)[0]
    narrow, wide = (bootstrap(values, 6, level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert bootstrap([0.25] * 7, 6) == (0.25, 0.25, 0.25)
    assert bootstrap([3], 6) == (3, 3, 3)


def test_pairs_cancel_what_they_share():
    shared, noise = normal(64, repeats=2)
    a, b = 10 * shared + 0.5, 10 * shared + 0.1 * noise
    difference = paired(a, b, 7)
    assert difference == bootstrap(a - b, 7)
    assert difference.mean == pytest.approx(0.5 - 0.1 * noise.mean().item())
    assert difference.low > 0.4 and difference.high < 0.6
    alone = bootstrap(a, 7)
    assert alone.high - alone.low > 50 * (difference.high - difference.low)
    backward = paired(b, a, 7)
    assert backward == pytest.approx(
        [-difference.mean, -difference.high, -difference.low])


def test_summary_is_of_each_measure():
    results = [{'error': float(i), 'share': i / 10} for i in range(9)]
    got = summary(results, 8)
    assert got == {'error': bootstrap(range(9), 8),
                   'share': bootstrap([i / 10 for i in range(9)], 8)}
    assert got['error'].mean == 4
    with pytest.raises(ValueError, match='no results'):
        summary([], 8)
    with pytest.raises(ValueError, match="the measures .*'error'"):
        summary([*results, {'error': 1.0}], 8)


@pytest.mark.parametrize('values, message', [
    ([], r'\[0\], expected \[N\]'),
    ([[1.0, 2.0]], r'\[1, 2\], expected \[N\]'),
    ([1.0, math.nan], '1 of 2 values are NaN or infinite'),
    ([math.inf, 1.0, math.nan], '2 of 3 values are NaN or infinite'),
])
def test_values_that_have_no_mean(values, message):
    with pytest.raises(ValueError, match=message):
        bootstrap(values, 0)


@pytest.mark.parametrize('options', [
    {'resamples': 0}, {'level': 0}, {'level': 1}, {'level': 95}])
def test_wrong_options(options):
    with pytest.raises(ValueError, match='resamples and the level'):
        bootstrap([1.0, 2.0], 0, **options)


def test_pairs_need_partners():
    with pytest.raises(ValueError, match=r'\[2\] and \[3\]'):
        paired([1.0, 2.0], [1.0, 2.0, 3.0], 0)
    with pytest.raises(ValueError, match='NaN'):
        paired([1.0, math.nan], [1.0, 2.0], 0)
