r"""A video's tokens shared between processes, on xDiT's attention engine.

Each process takes a run of the tokens through the blocks. Self-attention is
yunchang's (arXiv 2405.07719): within a Ulysses group processes swap tokens for
heads, around a ring keys and values are passed on. Texts, images and
references are whole in every process: attending to them needs no exchange.

Tokens that do not divide are padded, and the padding takes no part: where the
engine asks for the attention to one block of keys, only the block's real keys
are used. So the result is that of one process, whatever the number of tokens.
"""
import warnings
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from ..modules.model import Tokens
from ..modules.slots import Attend
from .groups import Groups

if TYPE_CHECKING:
    from yunchang import LongContextAttention

YUNCHANG = 'yunchang==0.6.4'
# What `Tokens` has of each token, along its second axis.
PER_TOKEN = ('x', 'rotation', 'control')


def check_engine() -> None:
    r"""Check that the attention engine is installed.

    Raises:
        ValueError: it is not.
    """
    try:
        with warnings.catch_warnings():
            # It compiles by a way that torch deprecates.
            warnings.simplefilter('ignore', DeprecationWarning)
            import yunchang  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f'ulysses_size and ring_size need a package that is not '
            f'installed: pip install {YUNCHANG}') from error


class SequenceParallel:
    r"""The `Share` of a process, see `wan.modules.model`.

    For inference: there are no gradients.

    Args:
        groups: with a ring and a Ulysses group.

    Raises:
        ValueError: the engine is not installed.
    """

    def __init__(self, groups: Groups):
        check_engine()
        self.mesh = groups.mesh
        self.group = groups.weights.get_group()
        self.rank = dist.get_rank(self.group)
        self.ring_rank = dist.get_rank(groups.ring)
        self.engine = _engine(groups)

    def part(self, length: int) -> slice:
        r"""Which of `length` tokens are this process's, padding left out."""
        own = self.mesh.shard_length(length)
        start = self.rank * own
        return slice(min(start, length), min(start + own, length))

    def split(self, tokens: Tokens, attend: Attend) -> tuple[Tokens, Attend]:
        r"""This process's tokens, and how they attend to all of them.

        Raises:
            ValueError: samples of unequal sizes, or too few tokens.
        """
        if tokens.seq_lens is not None:
            raise ValueError(
                f'Samples of unequal sizes, {list(tokens.grids)}, cannot '
                f'share their tokens between processes: give them one by one.')
        length = tokens.x.size(1)
        own, part = self.mesh.shard_length(length), self.part(length)
        shares = {
            name: _padded(value[:, part], own)
            for name in PER_TOKEN
            if (value := getattr(tokens, name)) is not None}
        return tokens._replace(**shares), SharedAttention(
            self, attend, length)

    def gather(self, x: torch.Tensor, length: int) -> torch.Tensor:
        r"""This process's [B, n, C] and all others' as [B, length, C]."""
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(self.mesh.sp_size)]
        dist.all_gather(parts, x, group=self.group)
        return torch.cat(parts, dim=1)[:, :length]

    def total(self, x: torch.Tensor) -> torch.Tensor:
        r"""The sum over all processes that share the tokens."""
        x = x.clone()
        dist.all_reduce(x, group=self.group)
        return x


class SharedAttention:
    r"""Self-attention of this process's tokens to those of all.

    Args:
        share: where it stands.
        local: the kernel, for keys that every process has.
        length: tokens of the video, without padding.
    """

    def __init__(self, share: SequenceParallel, local: Attend, length: int):
        self.share, self.local, self.length = share, local, length

    def __call__(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        k_lens: torch.Tensor | None = None,
        window_size: tuple[int, int] = (-1, -1),
    ) -> torch.Tensor:
        r"""[B, n, N, D] each, to the same.

        Raises:
            ValueError: a window, or lengths, were given.
        """
        if k_lens is not None or tuple(window_size) != (-1, -1):
            raise ValueError(
                f'Tokens shared between processes attend to all others; got '
                f'k_lens {k_lens} and window_size {window_size}.')
        engine = self.share.engine
        engine.attn_processor = _Blocks(
            self.local, self.length, self.share.mesh.ring,
            self.share.ring_rank)
        return engine(q, k, v)


class _Blocks:
    r"""What the engine calls for one block of keys after the other.

    The engine has exchanged heads for tokens before. The first block of keys
    is this process's own, then those that come around the ring.
    """

    def __init__(
        self, local: Attend, length: int, ring: int, ring_rank: int
    ):
        self.attend = partial(_without_lse, local) if ring == 1 \
            else attention_with_lse
        self.length, self.ring, self.index = length, ring, ring_rank

    def __call__(self, q, k, v, **_) -> tuple[torch.Tensor, torch.Tensor]:
        size = k.size(1)
        real = min(size, self.length - self.index * size)
        self.index = (self.index - 1) % self.ring
        return self.attend(q, k[:, :real], v[:, :real])


def attention_with_lse(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Attention, and by what a ring adds the blocks up.

    Args:
        q: [B, Lq, N, D].
        k, v: [B, Lk, N, D] of the same dtype.

    Returns:
        [B, Lq, N, D] in the same dtype, and the logarithm of the sum of the
        exponentiated logits, [B, N, Lq] in float32.
    """
    aten = torch.ops.aten
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if not q.is_cuda:
        out, lse = aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)
    elif q.dtype == torch.float32:
        # Its sums are padded to whole blocks.
        out, lse = aten._scaled_dot_product_efficient_attention(
            q, k, v, None, True)[:2]
    else:
        out, lse = aten._scaled_dot_product_flash_attention(q, k, v)[:2]
    return out.transpose(1, 2), lse[..., :q.size(2)].float()


def _without_lse(attend, q, k, v):
    r"""The whole attention in one block: there is nothing to add."""
    return attend(q, k, v), q.new_zeros(
        len(q), q.size(2), q.size(1), dtype=torch.float32)


def _engine(groups: Groups) -> 'LongContextAttention':
    r"""yunchang's attention over our groups, which it takes from a global."""
    from yunchang import LongContextAttention
    from yunchang.globals import PROCESS_GROUP
    PROCESS_GROUP.ULYSSES_PG, PROCESS_GROUP.RING_PG = \
        groups.ulysses, groups.ring
    try:
        return LongContextAttention(attn_type='custom')
    finally:
        PROCESS_GROUP.ULYSSES_PG = PROCESS_GROUP.RING_PG = None


def _padded(x: torch.Tensor, length: int) -> torch.Tensor:
    r"""[B, n, ...] with zeros up to [B, length, ...]."""
    missing = length - x.size(1)
    if not missing:
        return x
    return torch.cat(
        [x, x.new_zeros(len(x), missing, *x.shape[2:])], dim=1)
