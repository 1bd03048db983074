r"""The transformer that a video controls (VACE, arXiv 2503.07598).

A second, shorter row of blocks walks beside the main one. It begins with the
control's tokens, and each of its blocks adds a hint behind one main block.
"""
from collections.abc import Iterable, Sequence
from itertools import chain

import torch
import torch.nn as nn
from diffusers.configuration_utils import register_to_config

from .attention import attention
from .blocks import WanAttentionBlock
from .model import Tokens, WanModel, block_inputs
from .slots import Attend, CrossSlot, RefSlot, Share, TextKV

__all__ = ['BaseWanAttentionBlock', 'VaceWanAttentionBlock', 'VaceWanModel']


class VaceWanAttentionBlock(WanAttentionBlock):
    r"""A block of the control's row."""

    def __init__(
        self,
        cross_attn_type: str,
        dim: int,
        ffn_dim: int,
        num_heads: int,
        window_size: tuple[int, int] = (-1, -1),
        qk_norm: bool = True,
        cross_attn_norm: bool = False,
        eps: float = 1e-6,
        block_id: int = 0,
    ):
        r"""See `WanAttentionBlock`; block 0 is where the rows meet first."""
        super().__init__(cross_attn_type, dim, ffn_dim, num_heads, window_size,
                         qk_norm, cross_attn_norm, eps)
        self.block_id = block_id
        # Fresh ones say nothing: training starts from the model without them.
        self.before_proj = zero_linear(dim) if block_id == 0 else None
        self.after_proj = zero_linear(dim)

    def forward(
        self, c: torch.Tensor, x: torch.Tensor, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        r"""One block.

        Args:
            c: [B, L, C], the control's residual stream.
            x: [B, L, C], the embedded latent, which block 0 adds to it.
            kwargs: other arguments of `WanAttentionBlock.forward`.

        Returns:
            The control's stream and this block's hint, both [B, L, C].
        """
        # Not by block_id, which would make torch.compile a graph of each.
        if self.before_proj is not None:
            c = x + self.before_proj(c.to(self.before_proj.weight.dtype))
        c = super().forward(c, **kwargs)
        return c, self.after_proj(c.to(self.after_proj.weight.dtype))


class BaseWanAttentionBlock(WanAttentionBlock):
    r"""A block of the main row."""

    def __init__(
        self,
        cross_attn_type: str,
        dim: int,
        ffn_dim: int,
        num_heads: int,
        window_size: tuple[int, int] = (-1, -1),
        qk_norm: bool = True,
        cross_attn_norm: bool = False,
        eps: float = 1e-6,
        block_id: int | None = None,
    ):
        r"""See `WanAttentionBlock`.

        Args:
            block_id: of the control's block whose hint it adds, if any.
        """
        super().__init__(cross_attn_type, dim, ffn_dim, num_heads, window_size,
                         qk_norm, cross_attn_norm, eps)
        self.block_id = block_id

    def forward(
        self,
        x: torch.Tensor,
        hints: torch.Tensor | None = None,
        context_scale: float = 1.0,
        **kwargs: object,
    ) -> torch.Tensor:
        r"""One block, and its hint behind it.

        Args:
            x: [B, L, C].
            hints: [B, L, C], this block's own; None adds nothing.
            context_scale: how much the hint counts.
            kwargs: other arguments of `WanAttentionBlock.forward`.

        Returns:
            [B, L, C] in float32.
        """
        x = super().forward(x, **kwargs)
        return x if hints is None else x.add(hints, alpha=context_scale)


class VaceWanModel(WanModel):
    r"""`WanModel` with blocks for a control; without one it is that of t2v."""

    _model_types = ('vace',)
    _block_class = BaseWanAttentionBlock

    @register_to_config
    def __init__(
        self,
        vace_layers: Sequence[int] | None = None,
        vace_in_dim: int | None = None,
        model_type: str = 'vace',
        patch_size: tuple[int, int, int] = (1, 2, 2),
        text_len: int = 512,
        in_dim: int = 16,
        dim: int = 2048,
        ffn_dim: int = 8192,
        freq_dim: int = 256,
        text_dim: int = 4096,
        out_dim: int = 16,
        num_heads: int = 16,
        num_layers: int = 32,
        window_size: tuple[int, int] = (-1, -1),
        qk_norm: bool = True,
        cross_attn_norm: bool = True,
        eps: float = 1e-6,
    ):
        r"""Build the network, see `WanModel`.

        Args:
            vace_layers: main blocks that get a hint, in order, 0 among them;
                every second one if not given.
            vace_in_dim: channels of the control; in_dim if not given.

        Raises:
            ValueError: vace_layers that are none.
        """
        layers = list(range(0, num_layers, 2)) if vace_layers is None \
            else list(vace_layers)
        if layers != sorted(set(layers)) or layers[:1] != [0] \
                or layers[-1] >= num_layers:
            raise ValueError(
                f'vace_layers is {str(layers)[:80]}, it must be a rising list '
                f'of numbers below num_layers, {num_layers}, that begins with '
                f'0.')
        super().__init__(
            model_type, patch_size, text_len, in_dim, dim, ffn_dim, freq_dim,
            text_dim, out_dim, num_heads, num_layers, window_size, qk_norm,
            cross_attn_norm, eps)
        self.vace_layers = layers
        self.vace_in_dim = in_dim if vace_in_dim is None else vace_in_dim
        self.register_to_config(
            vace_layers=layers, vace_in_dim=self.vace_in_dim)
        for n, i in enumerate(layers):
            self.blocks[i].block_id = n
        self.vace_blocks = nn.ModuleList(
            VaceWanAttentionBlock(
                't2v_cross_attn', dim, ffn_dim, num_heads, window_size,
                qk_norm, cross_attn_norm, eps, n) for n in range(len(layers)))
        self.vace_patch_embedding = nn.Conv3d(
            self.vace_in_dim, dim, kernel_size=patch_size, stride=patch_size)

    def forward(
        self,
        x: Sequence[torch.Tensor],
        t: torch.Tensor,
        vace_context: Sequence[torch.Tensor] | None,
        context: Sequence[torch.Tensor] | TextKV,
        seq_len: int,
        vace_context_scale: float = 1.0,
        clip_fea: torch.Tensor | None = None,
        y: Sequence[torch.Tensor] | None = None,
        ref: Sequence[RefSlot | None] | None = None,
        cross: Sequence[CrossSlot | None] | None = None,
        attend: Attend = attention,
        share: Share | None = None,
    ) -> list[torch.Tensor]:
        r"""The velocity eps - z of each noisy latent.

        Args:
            vace_context: B controls [vace_in_dim, F, H, W], each of its
                latent's size; None for no control.
            vace_context_scale: how much the control counts.
            ref, cross: slots of the main blocks.
            x, t, context, seq_len, clip_fea, y, attend, share: see
                `WanModel`.

        Returns:
            B tensors [out_dim, F, H, W] in float32.

        Raises:
            ValueError: a control of another size; and see `WanModel`.
        """
        return super().forward(
            x, t, context, seq_len, clip_fea, y, ref, cross, attend, share,
            vace_context=vace_context, vace_context_scale=vace_context_scale)

    def embed(
        self,
        x: Sequence[torch.Tensor],
        t: torch.Tensor,
        seq_len: int,
        y: Sequence[torch.Tensor] | None = None,
        vace_context: Sequence[torch.Tensor] | None = None,
        vace_context_scale: float = 1.0,
    ) -> Tokens:
        r"""Latents, timesteps and controls as tokens, see `forward`."""
        tokens = super().embed(x, t, seq_len, y)
        if vace_context is None:
            return tokens
        got = [tuple(u.shape) for u in vace_context]
        want = [(self.vace_in_dim, *u.shape[1:]) for u in x]
        if got != want:
            raise ValueError(
                f'vace_context is of the shapes {got}, it must be of {want}.')
        control, *_ = self.embed_latents(
            vace_context, seq_len, self.vace_patch_embedding)
        return tokens._replace(
            control=control, control_scale=vace_context_scale)

    @property
    def text_blocks(self) -> Iterable[nn.Module]:
        r"""The main blocks, then the control's."""
        return chain(self.blocks, self.vace_blocks)

    def run_blocks(
        self,
        tokens: Tokens,
        context: torch.Tensor | TextKV,
        ref: Sequence[RefSlot | None] | None = None,
        cross: Sequence[CrossSlot | None] | None = None,
        attend: Attend = attention,
    ) -> torch.Tensor:
        r"""See `WanModel`; both rows in step, so that one hint is kept."""
        x, c = tokens.x, tokens.control
        controls = iter(self.vace_blocks)
        for i, block in enumerate(self.blocks):
            n, hint = block.block_id, None
            if c is not None and n is not None:
                c, hint = next(controls)(
                    c, x, attend=attend,
                    **block_inputs(tokens, context, len(self.blocks) + n))
            x = block(
                x, hint, tokens.control_scale,
                **block_inputs(tokens, context, i),
                ref=None if ref is None else ref[i],
                cross=None if cross is None else cross[i], attend=attend)
        return x


def zero_linear(dim: int) -> nn.Linear:
    r"""A layer [..., dim] -> [..., dim] that gives zeros until it learns."""
    layer = nn.Linear(dim, dim)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
