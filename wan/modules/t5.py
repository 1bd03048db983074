r"""The text encoder: the encoder half of umT5 (arXiv 2304.09151)."""
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn as nn

from ..utils.checkpoint import (
    CheckpointError,
    find_weights,
    load_weights,
    sidecar,
)
from ..utils.sizes import T5_SIZES
from .quantize import Pack
from .t5_layers import GELU as GELU
from .t5_layers import T5Attention as T5Attention
from .t5_layers import T5FeedForward as T5FeedForward
from .t5_layers import T5LayerNorm, T5RelativeEmbedding, T5SelfAttention
from .t5_layers import fp16_clamp as fp16_clamp
from .tokenizers import HuggingfaceTokenizer

__all__ = ['T5Encoder', 'T5EncoderModel']

log = logging.getLogger(__name__)

UMT5_XXL = dict(
    vocab=256384,
    dim=4096,
    dim_attn=4096,
    dim_ffn=10240,
    num_heads=64,
    num_layers=24,
    num_buckets=32,
    shared_pos=False,
    dropout=0.1,
)


class T5Encoder(nn.Module):
    r"""Token ids to features."""

    def __init__(
        self,
        vocab: int,
        dim: int,
        dim_attn: int,
        dim_ffn: int,
        num_heads: int,
        num_layers: int,
        num_buckets: int,
        shared_pos: bool = True,
        dropout: float = 0.1,
    ):
        r"""Build it with torch's initial weights; checkpoints bring their own.

        Args:
            vocab: number of tokens.
            dim: size of a feature.
            dim_attn: size of all heads together.
            dim_ffn: inner size of the feed-forward layers.
            num_heads: a divisor of dim_attn.
            num_layers: number of blocks.
            num_buckets: even number of position buckets.
            shared_pos: one position bias for all blocks (T5) instead of one
                for each (umT5).
            dropout: used in training only.
        """
        super().__init__()
        self.dim = dim
        self.dim_attn = dim_attn
        self.dim_ffn = dim_ffn
        self.num_heads = num_heads
        self.num_layers = num_layers
        self.num_buckets = num_buckets
        self.shared_pos = shared_pos
        self.token_embedding = nn.Embedding(vocab, dim)
        self.pos_embedding = T5RelativeEmbedding(
            num_buckets, num_heads, bidirectional=True) if shared_pos else None
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            T5SelfAttention(
                dim, dim_attn, dim_ffn, num_heads, num_buckets, shared_pos,
                dropout) for _ in range(num_layers))
        self.norm = T5LayerNorm(dim)

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        r"""Features of every position, padding included.

        Args:
            ids: [B, L], token ids.
            mask: [B, L] or [B, L, L], 0 where a key is not seen.

        Returns:
            [B, L, C].
        """
        x = self.dropout(self.token_embedding(ids))
        pos_bias = self.pos_embedding(x.size(1), x.size(1)) \
            if self.shared_pos else None
        for block in self.blocks:
            x = block(x, mask, pos_bias)
        return self.dropout(self.norm(x))


def umt5_xxl(**kwargs) -> T5Encoder:
    r"""The encoder of umT5-XXL, 5.7 billion parameters.

    Args:
        kwargs: `dtype` and `device` (torch's defaults if not given), and
            arguments of `T5Encoder` to override. `encoder_only=True` and
            `return_tokenizer=False` are accepted as upstream's callers pass
            them.

    Raises:
        ValueError: the decoder or a tokenizer was asked for.
    """
    if not kwargs.pop('encoder_only', True) or \
            kwargs.pop('return_tokenizer', False):
        raise ValueError(
            'umt5_xxl builds the encoder alone: allowed are '
            'encoder_only=True and return_tokenizer=False.')
    dtype = kwargs.pop('dtype', None)
    with torch.device(kwargs.pop('device', torch.get_default_device())):
        return T5Encoder(**UMT5_XXL | kwargs).to(dtype)


class T5EncoderModel:
    r"""Prompts to features, with umT5's tokenizer."""

    def __init__(
        self,
        text_len: int,
        dtype: torch.dtype = torch.bfloat16,
        device: torch.device | str | None = None,
        checkpoint_path: str | Path | None = None,
        tokenizer_path: str | Path | None = None,
        shard_fn: Callable[..., nn.Module] | None = None,
        pack: Pack | None = None,
    ):
        r"""Load weights and tokenizer.

        Args:
            text_len: tokens a prompt is cut to.
            dtype: of the weights.
            device: where the weights go; CUDA if there is one, else the CPU.
            checkpoint_path: .pth or .safetensors; see `sidecar` for encoders
                of another size than umT5-XXL.
            tokenizer_path: folder of the tokenizer.
            shard_fn: called as shard_fn(model, sync_module_states=False) on
                weights left on the CPU, to spread them over devices.
            pack: see `load_weights`.

        Raises:
            ValueError: a path is not given, or holds no tokenizer.
            CheckpointError: no weights, or they do not fit.
        """
        if checkpoint_path is None or tokenizer_path is None:
            raise ValueError(
                f'checkpoint_path is {checkpoint_path} and tokenizer_path '
                f'{tokenizer_path}, both are needed.')
        if device is None:
            device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.text_len = text_len
        self.dtype = dtype
        self.device = torch.device(device)
        self.checkpoint_path = checkpoint_path
        self.tokenizer_path = tokenizer_path
        self.tokenizer = HuggingfaceTokenizer(
            tokenizer_path, seq_len=text_len, clean='whitespace')
        weights = find_weights(checkpoint_path)
        try:
            model = umt5_xxl(device='meta', **sidecar(weights, T5_SIZES))
        except CheckpointError:
            raise
        except ValueError as error:
            raise CheckpointError(
                f'The sizes beside {weights} describe no text encoder: '
                f'{error}') from error
        known = model.token_embedding.num_embeddings
        if self.tokenizer.size > known:
            raise CheckpointError(
                f'The tokenizer at {tokenizer_path} has '
                f'{self.tokenizer.size} tokens, the text encoder {weights} '
                f'knows {known}.')
        self.model = load_weights(
            model, weights, dtype, 'cpu' if shard_fn else self.device,
            pack=pack)
        if shard_fn is not None:
            self.model = shard_fn(self.model, sync_module_states=False)

    def __call__(
        self, texts: str | Sequence[str], device: torch.device | str
    ) -> list[torch.Tensor]:
        r"""Encode prompts, wherever the weights are.

        Args:
            texts: the prompts; an empty one has one token, the end.
            device: where the results go.

        Returns:
            One [L_i, C] for each prompt, L_i tokens <= text_len.
        """
        texts = [texts] if isinstance(texts, str) else texts
        unknown = {word for text in texts
                   for word in self.tokenizer.unknown(text)}
        if unknown:  # umT5's falls back on bytes, a small one has no such
            log.warning(
                'The text encoder does not know %s: it reads a blank there.',
                ', '.join(map(repr, sorted(unknown))))
        ids, mask = self.tokenizer(
            texts, return_mask=True, add_special_tokens=True)
        lengths = mask.sum(dim=1).tolist()
        # Nothing sees padding, so it need not be computed.
        where = next(self.model.parameters()).device
        ids, mask = (x[:, :max(lengths)].to(where) for x in (ids, mask))
        context = self.model(ids, mask).to(device)
        return [u[:n] for u, n in zip(context, lengths, strict=True)]
