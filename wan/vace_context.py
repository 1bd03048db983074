r"""The context of VACE: a video, a mask and reference images (2503.07598).

In time, the references come before the video. Channels are the latent of what
is kept, the latent of what is masked, and the mask.
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange

from .modules.vae import WanVAE

# Frames, rows and columns of one latent cell.
VAE_STRIDE = (4, 8, 8)


def vace_context(
    vae: WanVAE,
    video: torch.Tensor,
    mask: torch.Tensor,
    references: Sequence[torch.Tensor] = (),
) -> tuple[torch.Tensor, torch.Tensor | None]:
    r"""What `control_condition` takes, and the references' latents.

    Args:
        video: [3, F, H, W] in [-1, 1].
        mask: [F, H, W] in [0, 1], 1 where something new is to be made.
        references: [3, 1, H, W] each, of the video's size.

    Returns:
        The context [2 C + 64, n + T, h, w]; and the latents [C, n, h, w] that
        the noisy latent has in front, None without references.
    """
    frames = encode_frames(vae, video, mask, references)
    masks = encode_mask(mask, len(references)).to(frames)
    lead = frames[:len(frames) // 2, :len(references)] if references else None
    return torch.cat([frames, masks]), lead


def encode_frames(
    vae: WanVAE,
    video: torch.Tensor,
    mask: torch.Tensor | None,
    references: Sequence[torch.Tensor] = (),
) -> torch.Tensor:
    r"""[2 C, n + T, h, w]; without a mask the video's alone, [C, ...].

    Args:
        vae, video, references: see `vace_context`.
        mask: [F, H, W] in [0, 1], or [3, F, H, W] of each colour; above 0.5
            is masked.
    """
    if mask is None:
        parts = vae.encode([video])
    else:
        masked = (mask > 0.5).to(video)
        parts = vae.encode([video * (1 - masked), video * masked])
    latent = torch.cat(parts)
    if not references:
        return latent
    lead = torch.cat(vae.encode(list(references)), dim=1)
    empty = lead.new_zeros(len(latent) - len(lead), *lead.shape[1:])
    return torch.cat([torch.cat([lead, empty]), latent], dim=1)


def encode_mask(
    mask: torch.Tensor,
    references: int = 0,
    stride: Sequence[int] = VAE_STRIDE,
) -> torch.Tensor:
    r"""[64, n + T, h, w]: the pixels of each cell as channels.

    Args:
        mask: [F, H, W].
        references: how many images come before the video; they have no mask.
        stride: frames, rows and columns of one cell.
    """
    time, rows, columns = stride
    cells = rearrange(
        mask, 'f (h r) (w c) -> (r c) f h w', r=rows, c=columns)
    length = (mask.size(0) + time - 1) // time
    cells = F.interpolate(
        cells[None], (length, *cells.shape[2:]), mode='nearest-exact')[0]
    return F.pad(cells, (0, 0, 0, 0, references, 0))
