r"""The image encoder: the visual tower of CLIP (arXiv 2103.00020), ViT-H/14.

Of open-clip's model with XLM-R. Image to video needs no text of it, so the
text tower, half of the checkpoint, is neither built nor read.
"""
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..utils.checkpoint import (
    CheckpointError,
    find_weights,
    load_weights,
    sidecar,
)
from ..utils.sizes import CLIP_SIZES
from .clip_layers import AttentionBlock as AttentionBlock
from .clip_layers import LayerNorm, pos_interpolate
from .clip_layers import QuickGELU as QuickGELU
from .clip_layers import SelfAttention as SelfAttention

__all__ = [
    'CLIPModel',
    'VisionTransformer',
    'XLMRobertaCLIP',
    'clip_xlm_roberta_vit_h_14',
]

# What a checkpoint holds besides the visual tower: the text tower, and the
# scale of the similarity of an image and a text.
UNUSED = ('textual.', 'log_scale')
# Statistics of the pictures that CLIP was trained on, in [0, 1].
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class VisionTransformer(nn.Module):
    r"""Pictures to features of their patches, the class token's first."""

    def __init__(
        self,
        image_size: int = 224,
        patch_size: int = 16,
        dim: int = 768,
        mlp_ratio: float = 4,
        out_dim: int = 512,
        num_heads: int = 12,
        num_layers: int = 12,
        pool_type: str = 'token',
        pre_norm: bool = True,
        post_norm: bool = False,
        activation: str = 'quick_gelu',
        attn_dropout: float = 0.0,
        proj_dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        norm_eps: float = 1e-5,
    ):
        r"""Build it with random weights; checkpoints bring their own.

        Args:
            image_size: side of a picture, a multiple of patch_size.
            patch_size: side of a patch.
            dim: size of a feature, a multiple of num_heads.
            mlp_ratio: inner size of the feed-forward layers over dim.
            out_dim: of `head`, which no forward comes to.
            num_heads, num_layers: the transformer's size.
            pool_type: only 'token'.
            pre_norm: norm the embeddings; the patches then have no bias.
            post_norm: of the blocks, see `AttentionBlock`. The tower's own
                post_norm is there in either case, and no forward comes to it.
            activation: 'quick_gelu' or 'gelu'.
            attn_dropout, proj_dropout, embedding_dropout: in training only.
            norm_eps: of every norm.

        Raises:
            ValueError: another pool_type or activation, or sizes that do not
                divide.
        """
        if image_size % patch_size:
            raise ValueError(
                f'image_size is {image_size}, it must be a multiple of '
                f'patch_size, which is {patch_size}.')
        if pool_type != 'token':
            raise ValueError(f"pool_type is {pool_type!r}; allowed: 'token'.")
        super().__init__()
        self.image_size = image_size
        self.patch_size = patch_size
        self.num_patches = (image_size // patch_size)**2
        self.dim = dim
        self.mlp_ratio = mlp_ratio
        self.out_dim = out_dim
        self.num_heads = num_heads
        self.num_layers = num_layers
        self.pool_type = pool_type
        self.norm_eps = norm_eps

        self.cls_embedding = nn.Parameter(torch.randn(1, 1, dim) / dim**.5)
        self.pos_embedding = nn.Parameter(
            torch.randn(1, self.num_patches + 1, dim) / dim**.5)
        self.head = nn.Parameter(torch.randn(dim, out_dim) / dim**.5)
        self.patch_embedding = nn.Conv2d(
            3, dim, kernel_size=patch_size, stride=patch_size,
            bias=not pre_norm)
        self.dropout = nn.Dropout(embedding_dropout)
        self.pre_norm = LayerNorm(dim, eps=norm_eps) if pre_norm else None
        self.transformer = nn.Sequential(*(
            AttentionBlock(dim, mlp_ratio, num_heads, post_norm, False,
                           activation, attn_dropout, proj_dropout, norm_eps)
            for _ in range(num_layers)))
        self.post_norm = LayerNorm(dim, eps=norm_eps)

    def forward(
        self,
        x: torch.Tensor,
        interpolation: bool = False,
        use_31_block: bool = False,
    ) -> torch.Tensor:
        r"""Features of every patch, without a norm or pooling behind them.

        Args:
            x: [B, 3, H, W], normalised as CLIP needs it.
            interpolation: allow any square size that patches divide, and
                stretch the positions to it.
            use_31_block: stop before the last block, of which ViT-H has 32.

        Returns:
            [B, 1 + patches, dim].

        Raises:
            ValueError: a picture of another size.
        """
        side = self.image_size
        if not interpolation and x.shape[2:] != (side, side):
            raise ValueError(
                f'A picture is {tuple(x.shape[2:])}, without interpolation '
                f'it must be {(side, side)}.')
        x = self.patch_embedding(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_embedding.expand(len(x), -1, -1), x], dim=1)
        x = self.dropout(x + pos_interpolate(self.pos_embedding, x.size(1)))
        if self.pre_norm is not None:
            x = self.pre_norm(x)
        for block in self.transformer[:-1 if use_31_block else None]:
            x = block(x)
        return x


class XLMRobertaCLIP(nn.Module):
    r"""The visual tower, under the name that it has in checkpoints."""

    def __init__(
        self,
        embed_dim: int = 1024,
        image_size: int = 224,
        patch_size: int = 14,
        vision_dim: int = 1280,
        vision_mlp_ratio: float = 4,
        vision_heads: int = 16,
        vision_layers: int = 32,
        vision_pool: str = 'token',
        vision_pre_norm: bool = True,
        vision_post_norm: bool = False,
        activation: str = 'gelu',
        attn_dropout: float = 0.0,
        proj_dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        norm_eps: float = 1e-5,
    ):
        r"""See `VisionTransformer`; embed_dim is its out_dim."""
        super().__init__()
        self.visual = VisionTransformer(
            image_size, patch_size, vision_dim, vision_mlp_ratio, embed_dim,
            vision_heads, vision_layers, vision_pool, vision_pre_norm,
            vision_post_norm, activation, attn_dropout, proj_dropout,
            embedding_dropout, norm_eps)


def clip_xlm_roberta_vit_h_14(**kwargs) -> XLMRobertaCLIP:
    r"""The visual tower of the official checkpoint, 630 million parameters.

    Args:
        kwargs: `dtype` and `device` (torch's defaults if not given), and
            arguments of `XLMRobertaCLIP` to override.
    """
    dtype = kwargs.pop('dtype', None)
    with torch.device(kwargs.pop('device', torch.get_default_device())):
        return XLMRobertaCLIP(**kwargs).to(dtype)


class CLIPModel:
    r"""Pictures to the features that image to video looks at."""

    def __init__(
        self,
        dtype: torch.dtype,
        device: torch.device | str,
        checkpoint_path: str | Path,
        tokenizer_path: str | Path | None = None,
    ):
        r"""Load the visual tower.

        Args:
            dtype: of the weights; float16, which few CPU kernels know, is
                float32 on the CPU.
            device: where the weights go.
            checkpoint_path: .pth or .safetensors; see `sidecar` for towers of
                another size than ViT-H.
            tokenizer_path: of the text tower, as upstream's callers pass it;
                there is nothing to read there.

        Raises:
            CheckpointError: no weights, or they do not fit.
        """
        self.device = torch.device(device)
        self.dtype = torch.float32 if (
            self.device.type == 'cpu' and dtype == torch.float16) else dtype
        self.checkpoint_path = checkpoint_path
        weights = find_weights(checkpoint_path)
        try:
            model = clip_xlm_roberta_vit_h_14(
                device='meta', **sidecar(weights, CLIP_SIZES))
        except CheckpointError:
            raise
        except ValueError as error:
            raise CheckpointError(
                f'The sizes beside {weights} describe no image encoder: '
                f'{error}') from error
        self.model = load_weights(
            model, weights, self.dtype, self.device, UNUSED)

    def transforms(self, videos: Sequence[torch.Tensor]) -> torch.Tensor:
        r"""Frames as the visual tower sees them.

        Each is resized to a square, whatever its shape, without antialiasing;
        what bicubic interpolation overshoots stays.

        Args:
            videos: [3, T, H, W] in [-1, 1], of any sizes.

        Returns:
            [frames of all, 3, image_size, image_size] in float32.
        """
        side, where = self.model.visual.image_size, self._weight.device
        frames = torch.cat([
            F.interpolate(video.transpose(0, 1).to(where, torch.float32),
                          size=(side, side), mode='bicubic')
            for video in videos]) / 2 + .5
        mean, std = (torch.tensor(v, device=where)[:, None, None]
                     for v in (MEAN, STD))
        return (frames - mean) / std

    def visual(self, videos: Sequence[torch.Tensor]) -> torch.Tensor:
        r"""Features of every frame, wherever the weights are.

        Args:
            videos: [3, T, H, W] in [-1, 1], of any sizes.

        Returns:
            [frames of all, 257, 1280] in the weights' dtype: the input of the
            last block, the class token first.
        """
        return self.model.visual(
            self.transforms(videos).to(self._weight.dtype), use_31_block=True)

    @property
    def _weight(self) -> torch.Tensor:
        return self.model.visual.cls_embedding
