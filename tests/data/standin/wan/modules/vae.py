import torch
import torch.nn as nn


class WanVAE_(nn.Module):
    z_dim = 16


class WanVAE:

    def __init__(self, z_dim=16, vae_pth=None, dtype=torch.float,
                 device="cuda"):
        self.model = WanVAE_()
        # 3 colours of 2 x 4 x 4 places to 16 channels
        generator = torch.Generator().manual_seed(0)
        self.basis = torch.linalg.qr(
            torch.randn(96, 16, generator=generator))[0].to(device)

    def encode(self, videos):
        return [self._encode(video) for video in videos]

    def _encode(self, video):
        # the first frame alone, then four by four, a half of them
        frames = torch.cat([video[:, :1]] * 2 + [video[:, 1:].unflatten(
            1, (-1, 2))[:, :, 0]], dim=1) if video.size(
            1) > 1 else video.repeat(1, 2, 1, 1)
        cells = frames[:, :, ::2, ::2].unflatten(3, (-1, 4)).unflatten(
            2, (-1, 4)).unflatten(1, (-1, 2))
        cells = cells.permute(1, 3, 5, 0, 2, 4, 6).flatten(3)
        return (cells @ self.basis).permute(3, 0, 1, 2)

    def decode(self, zs):
        return [self._decode(z).clamp(-1, 1) for z in zs]

    def _decode(self, z):
        cells = (z.permute(1, 2, 3, 0) @ self.basis.T).unflatten(
            3, (3, 2, 4, 4)).permute(3, 0, 4, 1, 5, 2, 6)
        frames = cells.flatten(5).flatten(3, 4).flatten(1, 2)
        frames = frames.repeat_interleave(2, 1).repeat_interleave(
            2, 2).repeat_interleave(2, 3)
        return frames[:, 3:]
