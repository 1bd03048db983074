r"""The diffusion transformer of Wan2.1 (arXiv 2503.20314, section 4.2)."""
import inspect
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange

from ..utils.checkpoint import (
    CheckpointError,
    described,
    fingerprint,
    load_weights,
    weight_files,
)
from ..utils.foreign import foreign_model
from ..utils.plain_files import reason
from ..utils.sizes import MODEL_SIZES, check_sizes
from .attention import attention
from .attention_layers import (
    T5_CONTEXT_TOKEN_NUMBER,
    WAN_CROSSATTENTION_CLASSES,
    WanI2VCrossAttention,
    WanRMSNorm,
    WanSelfAttention,
    WanT2VCrossAttention,
)
from .blocks import (
    FIRST_LAST_FRAME_CONTEXT_TOKEN_NUMBER,
    Head,
    MLPProj,
    WanAttentionBlock,
    WanLayerNorm,
    full_precision,
)
from .quantize import Pack
from .rope import (
    Grid,
    as_grids,
    rope_apply,
    rope_params,
    rotate,
    rotation_of,
    rotation_table,
    sinusoidal_embedding_1d,
)
from .slots import Attend, CrossSlot, RefSlot, Share, TextKV

__all__ = [
    'FIRST_LAST_FRAME_CONTEXT_TOKEN_NUMBER',
    'T5_CONTEXT_TOKEN_NUMBER',
    'WAN_CROSSATTENTION_CLASSES',
    'CrossSlot',
    'Head',
    'MLPProj',
    'RefSlot',
    'TextKV',
    'Tokens',
    'WanAttentionBlock',
    'WanI2VCrossAttention',
    'WanLayerNorm',
    'WanModel',
    'WanRMSNorm',
    'WanSelfAttention',
    'WanT2VCrossAttention',
    'rope_apply',
    'rope_params',
    'rotate',
    'rotation_table',
    'sinusoidal_embedding_1d',
]


class Tokens(NamedTuple):
    r"""What stands between the embedding and the head.

    Args:
        x: [B, L, C], the residual stream.
        e, e0: [B, C] and [B, 6, C], float32, the timestep for head and blocks.
        grids: of each sample.
        seq_lens: [B], tokens of each sample; None when all have L.
        rotation: [B or 1, L, 1, D / 2], of each token.
        control: [B, L, C], what VACE controls the video by, if anything.
        control_scale: how much the control counts.
    """
    x: torch.Tensor
    e: torch.Tensor
    e0: torch.Tensor
    grids: tuple[Grid, ...]
    seq_lens: torch.Tensor | None
    rotation: torch.Tensor
    control: torch.Tensor | None = None
    control_scale: float = 1.0


class WanModel(ModelMixin, ConfigMixin):
    r"""The transformer behind text to video and image to video.

    The dtype of the linear layers is the one it computes in. Norms,
    modulation, the timestep's embedding and the head stay in float32, as does
    the residual stream, which is what upstream's autocast does.
    """

    _no_split_modules = ['WanAttentionBlock']
    _keep_in_fp32_modules = [
        'time_embedding', 'time_projection', 'modulation', 'norm_q', 'norm_k',
        'norm_k_img', 'norm3', 'head'
    ]
    # What `model_type` may be, and the class of `blocks`.
    _model_types = ('t2v', 'i2v', 'flf2v')
    _block_class = WanAttentionBlock
    # The fingerprint of the files it was loaded from, if it was.
    made_of: str | None = None

    @register_to_config
    def __init__(
        self,
        model_type: str = 't2v',
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
        r"""Build the network.

        Args:
            model_type: 't2v', 'i2v' or 'flf2v' (first and last frame).
            patch_size: (frames, rows, columns) of latent in one token.
            text_len: tokens the text is padded to.
            in_dim: channels of the input: latent, plus `y` for image to video.
            dim, ffn_dim, num_heads, num_layers: the transformer's size.
            freq_dim: size of the timestep's sinusoidal embedding.
            text_dim: channels of the text encoder.
            out_dim: channels of the latent.
            window_size: (left, right) tokens seen by self-attention, -1 all.
            qk_norm: RMS-normalise queries and keys.
            cross_attn_norm: an affine layer norm before cross-attention.
            eps: of every norm.

        Raises:
            ValueError: unknown `model_type`, or heads that do not divide dim.
        """
        if model_type not in self._model_types:
            raise ValueError(
                f'Unknown model_type {model_type!r} of a '
                f'{type(self).__name__}; allowed: '
                f'{", ".join(self._model_types)}.')
        super().__init__()
        self.model_type = model_type
        self.patch_size = tuple(patch_size)
        self.text_len = text_len
        self.in_dim = in_dim
        self.dim = dim
        self.ffn_dim = ffn_dim
        self.freq_dim = freq_dim
        self.text_dim = text_dim
        self.out_dim = out_dim
        self.num_heads = num_heads
        self.num_layers = num_layers
        self.window_size = tuple(window_size)
        self.qk_norm = qk_norm
        self.cross_attn_norm = cross_attn_norm
        self.eps = eps
        self.needs_image = model_type in ('i2v', 'flf2v')

        self.patch_embedding = nn.Conv3d(
            in_dim, dim, kernel_size=patch_size, stride=patch_size)
        self.text_embedding = nn.Sequential(
            nn.Linear(text_dim, dim), nn.GELU(approximate='tanh'),
            nn.Linear(dim, dim))
        self.time_embedding = nn.Sequential(
            nn.Linear(freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(
            nn.SiLU(), nn.Linear(dim, dim * 6))
        kind = 'i2v_cross_attn' if self.needs_image else 't2v_cross_attn'
        self.blocks = nn.ModuleList(
            self._block_class(
                kind, dim, ffn_dim, num_heads, window_size, qk_norm,
                cross_attn_norm, eps) for _ in range(num_layers))
        self.head = Head(dim, out_dim, patch_size, eps)

        d = dim // num_heads
        # Neither buffer nor parameter: never cast, never in a checkpoint.
        self.freqs = torch.cat([
            rope_params(1024, d - 4 * (d // 6)),
            rope_params(1024, 2 * (d // 6)),
            rope_params(1024, 2 * (d // 6)),
        ], dim=1)
        if self.needs_image:
            self.img_emb = MLPProj(
                1280, dim, flf_pos_emb=model_type == 'flf2v')
        if self.patch_embedding.weight.device.type != 'meta':
            self.init_weights()

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        torch_dtype: torch.dtype | None = None,
        device: torch.device | str = 'cpu',
        pack: Pack | None = None,
    ) -> 'WanModel':
        r"""Load a diffusers model folder, its weights in one file or shards.

        In place of diffusers' loader, which makes a second copy of the
        weights unless accelerate is installed.

        Args:
            folder: holds config.json and diffusion_pytorch_model.safetensors.
            torch_dtype: see `load_weights`; None keeps the stored dtype.
            device: where the weights go.
            pack: see `load_weights`.

        Raises:
            CheckpointError: no such folder, or its weights do not fit.

        Returns:
            The network, its `made_of` the `fingerprint` of its files.
        """
        model, files = cls.empty(folder), weight_files(folder)
        load_weights(model, files, torch_dtype, device, pack=pack)
        model.made_of = fingerprint(files)
        return model

    @classmethod
    def empty(cls, folder: str | Path) -> 'WanModel':
        r"""The network a folder's config.json describes, on the meta device.

        Entries that are no size of this network are not looked at.

        Raises:
            CheckpointError: no such file, no such description in it, or a
                size beyond `MODEL_SIZES`.
        """
        given, own = described(folder), inspect.signature(cls).parameters
        try:
            kind = foreign_model(given)
            if kind is not None:
                raise ValueError(f'it describes {kind}')
            sizes = {k: v for k, v in given.items()
                     if k in MODEL_SIZES and k in own}
            for name in ('dim', 'num_heads', 'num_layers'):
                if name not in sizes:
                    raise ValueError(f'it has no {name}')
            check_sizes(sizes, MODEL_SIZES)
            with torch.device('meta'):
                model = cls(
                    model_type=given.get('model_type', 't2v'),
                    **{k: tuple(v) if isinstance(v, list) else v
                       for k, v in sizes.items()})
            model.check_channels()
            return model
        except ValueError as error:
            raise CheckpointError(
                f'{Path(folder) / "config.json"} describes no model: '
                f'{reason(error)}.') from error

    def check_channels(self) -> None:
        r"""Check that the channels of in- and output are as the type has them.

        Raises:
            ValueError: they are not.
        """
        # Beside the latent, y is another one and 4 channels of its mask.
        wanted, told = (2 * self.out_dim + 4, 'in_dim is 2 * out_dim + 4') \
            if self.needs_image else (self.out_dim, 'both are the same')
        if self.in_dim != wanted:
            raise ValueError(
                f'in_dim is {self.in_dim} and out_dim {self.out_dim}, of type '
                f'{self.model_type} {told}')

    def forward(
        self,
        x: Sequence[torch.Tensor],
        t: torch.Tensor,
        context: Sequence[torch.Tensor] | TextKV,
        seq_len: int,
        clip_fea: torch.Tensor | None = None,
        y: Sequence[torch.Tensor] | None = None,
        ref: Sequence[RefSlot | None] | None = None,
        cross: Sequence[CrossSlot | None] | None = None,
        attend: Attend = attention,
        share: Share | None = None,
        **inputs: object,
    ) -> list[torch.Tensor]:
        r"""The velocity eps - z of each noisy latent.

        Args:
            x: B latents [C_in, F, H, W]; latents of one size run as a batch.
            t: [B], timesteps 1000 * sigma.
            context: B text embeddings [L <= text_len, C], or what
                `project_text` has made of them.
            seq_len: longest number of tokens allowed.
            clip_fea: see `project_text`; not needed beside a `TextKV`.
            y: B conditions [C_y, F, H, W] joined behind the latent channels.
            ref: a reference slot, or None, for each block.
            cross: a slot of the cross-attention, or None, for each block.
            attend: computes every attention.
            share: the share of the tokens that is computed; None has all.
            inputs: further arguments of `embed`, where a model has them.

        Returns:
            B tensors [out_dim, F, H, W] in float32.

        Raises:
            ValueError: a sample has more tokens than seq_len, a text more
                than text_len, or the image inputs of i2v are missing.
        """
        if not isinstance(context, TextKV):
            context = self.embed_context(context, clip_fea)
        tokens = self.embed(x, t, seq_len, y, **inputs)
        length = tokens.x.size(1)
        if share is not None:
            tokens, attend = share.split(tokens, attend)
        out = self.run_blocks(tokens, context, ref, cross, attend)
        out = self.head(out, tokens.e)
        if share is not None:
            out = share.gather(out, length)
        return self.unpatchify(out, tokens.grids)

    def embed(
        self,
        x: Sequence[torch.Tensor],
        t: torch.Tensor,
        seq_len: int,
        y: Sequence[torch.Tensor] | None = None,
    ) -> Tokens:
        r"""Latents and timesteps as tokens, arguments as of `forward`."""
        if self.needs_image and y is None:
            raise ValueError(
                f'A model of type {self.model_type} needs clip_fea and y.')
        if y is not None:
            x = [torch.cat(pair) for pair in zip(x, y, strict=True)]
        x, grids, seq_lens = self.embed_latents(x, seq_len)
        return Tokens(x, *self.embed_time(t), grids, seq_lens,
                      rotation_of(x, grids, self.freqs))

    def run_blocks(
        self,
        tokens: Tokens,
        context: torch.Tensor | TextKV,
        ref: Sequence[RefSlot | None] | None = None,
        cross: Sequence[CrossSlot | None] | None = None,
        attend: Attend = attention,
    ) -> torch.Tensor:
        r"""The residual stream [B, L, C] behind the last block.

        Whatever changes how the blocks are walked (control blocks, tokens
        shared between processes, tokens left out) does it here.

        Args:
            tokens: from `embed`, all of a video or some of it.
            context: from `embed_context` or `project_text`.
            ref, cross, attend: see `forward`.
        """
        x = tokens.x
        for i, block in enumerate(self.blocks):
            x = block(
                x, **block_inputs(tokens, context, i),
                ref=None if ref is None else ref[i],
                cross=None if cross is None else cross[i], attend=attend)
        return x

    @property
    def text_blocks(self) -> Iterable[nn.Module]:
        r"""The blocks that read the text, in the order of a `TextKV`."""
        return self.blocks

    def project_text(
        self,
        context: Sequence[torch.Tensor],
        clip_fea: torch.Tensor | None = None,
    ) -> TextKV:
        r"""Every block's keys and values of a batch of prompts.

        Args:
            context: B text embeddings [L <= text_len, C].
            clip_fea: [B, 257, 1280] CLIP tokens of the image, or
                [2B, 257, 1280] for first and last frames.

        Raises:
            ValueError: a text has more than text_len tokens, or the image of
                i2v is missing.
        """
        embedded = self.embed_context(context, clip_fea)
        return TextKV(tuple(
            block.keys_values(embedded) for block in self.text_blocks))

    def embed_latents(self, x, seq_len, patches=None):
        r"""Latents to tokens [B, L, C], B grids, lengths [B] or None."""
        patches = patches or self.patch_embedding
        dtype = patches.weight.dtype
        if len({u.shape for u in x}) == 1:
            tokens = patches(torch.stack(list(x)).to(dtype))
            grids = (tuple(tokens.shape[2:]),) * len(x)
            # Every sum with the residual stream keeps its memory layout.
            tokens = tokens.flatten(2).transpose(1, 2).contiguous()
            seq_lens = None
            longest = tokens.size(1)
        else:
            parts = [patches(u[None].to(dtype)) for u in x]
            grids = tuple(tuple(p.shape[2:]) for p in parts)
            lengths = [math.prod(grid) for grid in grids]
            seq_lens, longest = torch.tensor(lengths), max(lengths)
            tokens = torch.cat([
                F.pad(p.flatten(2), (0, max(0, seq_len - n))).transpose(1, 2)
                for p, n in zip(parts, lengths, strict=True)
            ]) if longest <= seq_len else None
        if longest > seq_len:
            raise ValueError(
                f'A sample has {longest} tokens, seq_len allows {seq_len}.')
        return tokens, grids, seq_lens

    def embed_time(self, t):
        r"""Timesteps [B] to e [B, C] and e0 [B, 6, C], in float32."""
        weight = self.time_embedding[0].weight
        with full_precision(weight.device):
            wave = sinusoidal_embedding_1d(self.freq_dim, t)
            e = self.time_embedding(
                wave.to(device=weight.device, dtype=weight.dtype))
            e0 = self.time_projection(e).unflatten(1, (6, self.dim))
        return e.float(), e0.float()

    def embed_context(self, context, clip_fea=None):
        r"""Text (and image) embeddings to [B, Li + text_len, C].

        Padding is added before the embedding, and the model was trained to
        attend to it: there is no mask.
        """
        if self.needs_image and clip_fea is None:
            raise ValueError(
                f'A model of type {self.model_type} needs clip_fea and y.')
        longest = max(u.size(0) for u in context)
        if longest > self.text_len:
            raise ValueError(
                f'A text has {longest} tokens, text_len allows '
                f'{self.text_len}.')
        padded = torch.stack([
            F.pad(u, (0, 0, 0, self.text_len - u.size(0))) for u in context])
        embedded = self.text_embedding(
            padded.to(self.text_embedding[0].weight.dtype))
        if clip_fea is not None:
            image = self.img_emb(clip_fea)
            embedded = torch.cat([image, embedded.to(image.dtype)], dim=1)
        return embedded

    def unpatchify(
        self,
        x: Sequence[torch.Tensor],
        grid_sizes: torch.Tensor | Sequence[Grid],
    ) -> list[torch.Tensor]:
        r"""Tokens [L, patch volume * C] of each sample to [C, F, H, W]."""
        pt, ph, pw = self.patch_size
        return [
            rearrange(
                u[:f * h * w],
                '(f h w) (pt ph pw c) -> c (f pt) (h ph) (w pw)',
                f=f, h=h, w=w, pt=pt, ph=ph, pw=pw).float()
            for u, (f, h, w) in zip(
                x, as_grids(grid_sizes), strict=True)
        ]

    def init_weights(self) -> None:
        r"""The initialisation training starts from; the output is zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embedding.weight.flatten(1))
        for embedding in (self.text_embedding, self.time_embedding):
            for module in embedding:
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, std=.02)
        nn.init.zeros_(self.head.head.weight)


def block_inputs(
    tokens: Tokens, context: torch.Tensor | TextKV, i: int
) -> dict[str, object]:
    r"""What block i of `WanModel.text_blocks` needs besides x and slots."""
    return dict(
        e=tokens.e0, seq_lens=tokens.seq_lens, grid_sizes=tokens.grids,
        freqs=tokens.rotation, context_lens=None,
        context=context.blocks[i] if isinstance(context, TextKV) else context)
