r"""Means over pairs, with bootstrap intervals."""
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Interval(NamedTuple):
    r"""A mean and the ends of its interval."""
    mean: float
    low: float
    high: float


def bootstrap(
    values: Sequence[float] | Tensor,
    seed: int,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    r"""Percentile bootstrap (Efron 1979) of the mean.

    Args:
        values: N independent ones; one alone has an interval of no width.
        seed: of the draws, which depend on it and on N only.
        level: share of the resamples' means within the interval, in (0, 1).

    Raises:
        ValueError: no values, or one that is NaN or infinite.
    """
    values = torch.as_tensor(values, dtype=torch.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(
            f'The values are {list(values.shape)}, expected [N], N > 0.')
    if not values.isfinite().all():
        raise ValueError(
            f'{(~values.isfinite()).sum().item()} of {len(values)} values are '
            f'NaN or infinite; each must be a number.')
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(
            f'Got {resamples} resamples and the level {level}; at least 1 and '
            f'a level between 0 and 1 are needed.')
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randint(
        len(values), (resamples, len(values)), generator=generator)
    means = values.cpu()[draws].mean(1)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=means.dtype)
    return Interval(
        values.mean().item(), *torch.quantile(means, ends).tolist())


def paired(
    a: Sequence[float] | Tensor,
    b: Sequence[float] | Tensor,
    seed: int,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    r"""`bootstrap` of a - b, entry i of both being of the same pair.

    Raises:
        ValueError: as `bootstrap`, or the lengths differ.
    """
    a, b = (torch.as_tensor(x, dtype=torch.float64) for x in (a, b))
    if a.shape != b.shape:
        raise ValueError(
            f'The values are {list(a.shape)} and {list(b.shape)}, expected as '
            f'many of both.')
    return bootstrap(a - b, seed, resamples, level)


def summary(
    results: Sequence[Mapping[str, float]], seed: int
) -> dict[str, Interval]:
    r"""`bootstrap` of each measure over the results of all pairs.

    Raises:
        ValueError: as `bootstrap`, or the results have different measures.
    """
    if not results:
        raise ValueError('There are no results to summarise.')
    names = list(results[0])
    for result in results:
        if set(result) != set(names):
            raise ValueError(
                f'A result has the measures {sorted(result)}, the first one '
                f'{sorted(names)}.')
    return {name: bootstrap([result[name] for result in results], seed)
            for name in names}
