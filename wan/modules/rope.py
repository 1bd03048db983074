r"""Where a token is in time and in the video, as numbers for the model."""
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F


def sinusoidal_embedding_1d(dim: int, position: torch.Tensor) -> torch.Tensor:
    r"""Cosines, then sines, of positions at geometric frequencies.

    Args:
        dim: even size of the embedding.
        position: [B], timesteps in [0, 1000], whole or fractional.

    Returns:
        [B, dim] in float64.
    """
    if position.device.type == 'mps':  # has no float64
        position = position.cpu()
    half = dim // 2
    scale = torch.arange(half, device=position.device).double().div(-half)
    angle = torch.outer(position.double(), torch.pow(10000., scale))
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def rope_params(
    max_seq_len: int, dim: int, theta: float = 10000
) -> torch.Tensor:
    r"""Unit rotations of one axis, [max_seq_len, dim / 2] in complex128.

    Always real numbers on the CPU, also when a model is built on the meta
    device: the table is no parameter and no checkpoint brings it.
    """
    return _turns(torch.arange(max_seq_len, device='cpu'), dim // 2, theta)


def _turns(positions, half, theta=10000.):
    r"""Rotations of one axis at positions [L]: [L, half] in complex128."""
    exponent = torch.arange(half, dtype=torch.float64, device='cpu') / half
    angle = torch.outer(positions.double().cpu(), theta ** -exponent)
    return torch.polar(torch.ones_like(angle), angle)


# (frames, rows, columns) in tokens.
Grid = tuple[int, int, int]


def rotation_table(
    grids: Sequence[Grid],
    freqs: torch.Tensor,
    seq_len: int,
    device: torch.device | str,
) -> torch.Tensor:
    r"""The rotation of every token, made once a forward for all layers.

    Args:
        grids: of each sample.
        freqs: [P, D / 2], the tables of the three axes side by side.
        seq_len: length to fill up to; tokens past a grid are not rotated.

    Returns:
        [B, seq_len, 1, D / 2] in complex64.

    Raises:
        ValueError: a grid axis is longer than the tables.
    """
    half = freqs.size(1)
    sizes = [half - 2 * (half // 3), half // 3, half // 3]
    # The small tables go to the device, rounded, and are spread out there.
    parts = torch.view_as_real(freqs).float().to(device).split(sizes, dim=1)
    tables = []
    for grid in grids:
        if max(grid) > freqs.size(0):
            raise ValueError(
                f'Token grid {grid} exceeds {freqs.size(0)} positions.')
        axes = [
            part[:n].view([-1 if i == axis else 1 for i in range(3)]
                          + [part.size(1), 2]).expand(*grid, -1, -1)
            for axis, (part, n) in enumerate(zip(parts, grid, strict=True))
        ]
        table = torch.cat(axes, dim=-2).flatten(0, 2)
        if len(table) < seq_len:
            table = F.pad(table, (0, 0, 0, 0, 0, seq_len - len(table)))
            table[math.prod(grid):, :, 0] = 1
        tables.append(table)
    return torch.view_as_complex(torch.stack(tables)).unsqueeze(2)


def rotate(
    x: torch.Tensor, table: torch.Tensor, dtype: torch.dtype | None = None
) -> torch.Tensor:
    r"""Rotate pairs of adjacent channels.

    Args:
        x: [B, L, N, D].
        table: [B or 1, L, 1, D / 2], complex64.
        dtype: of the result, float32 if not given.
    """
    pairs = x.float().unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():
        # Inductor fuses real arithmetic and leaves complex numbers alone.
        a, b = pairs.unbind(-1)
        cos, sin = torch.view_as_real(table).unbind(-1)
        turned = torch.stack((a * cos - b * sin, a * sin + b * cos), -1)
        return turned.flatten(-2).to(dtype or torch.float32)
    pairs = torch.view_as_complex(pairs)
    return torch.view_as_real(pairs * table).flatten(-2).to(
        dtype or torch.float32)


def rope_apply(
    x: torch.Tensor,
    grid_sizes: torch.Tensor | Sequence[Grid],
    freqs: torch.Tensor,
) -> torch.Tensor:
    r"""Rotate tokens by their place in the video (RoFormer, 2104.09864).

    Args:
        x: [B, L, N, D].
        grid_sizes: [B, 3], or B `Grid`s, of each sample's tokens.
        freqs: [P, D / 2] complex, the tables of the three axes side by side.

    Returns:
        [B, L, N, D] in float32; tokens past a sample's grid are unchanged.
    """
    return rotate(x, rotation_of(x, grid_sizes, freqs))


def rotation_of(
    x: torch.Tensor,
    grid_sizes: torch.Tensor | Sequence[Grid],
    freqs: torch.Tensor,
) -> torch.Tensor:
    r"""The `rotation_table` of x's tokens, arguments as of `rope_apply`."""
    grids = as_grids(grid_sizes)
    # Samples of one shape share one row of the table.
    grids = grids[:1] if len(set(grids)) == 1 else grids
    return rotation_table(grids, freqs, x.size(1), x.device)


def as_grids(grid_sizes: torch.Tensor | Sequence[Grid]) -> tuple[Grid, ...]:
    r"""Upstream's [B, 3] tensor, or what is as plain numbers already."""
    if isinstance(grid_sizes, torch.Tensor):
        return tuple(map(tuple, grid_sizes.tolist()))
    return tuple(grid_sizes)


def rotation_at(positions: torch.Tensor, head_dim: int) -> torch.Tensor:
    r"""Rotations at any positions, also between and beyond whole tokens.

    Args:
        positions: [L, 3], frame, row and column of each token.
        head_dim: channels of a head, split over the axes as in the model.

    Returns:
        [1, L, 1, head_dim / 2] in complex64; equals the model's table at
        whole positions.
    """
    side = head_dim // 6
    turns = torch.cat([
        _turns(positions[:, axis], half) for axis, half in enumerate(
            (head_dim // 2 - 2 * side, side, side))], dim=1)
    return turns[None, :, None].to(torch.complex64)


def token_grid(
    latent_shape: Sequence[int], patch_size: Sequence[int]
) -> Grid:
    r"""Tokens of a latent [C, T, h, w]."""
    return tuple(n // p for n, p in zip(
        latent_shape[1:], patch_size, strict=True))
