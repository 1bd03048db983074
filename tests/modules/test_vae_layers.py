r"""The layers of the VAE on their own."""
import pytest
import torch
import torch.nn.functional as F

from wan.modules.vae import WanVAE_
from wan.modules.vae_layers import (
    CausalConv3d,
    Resample,
    ResidualBlock,
    RMS_norm,
)

PLAIN = [0.0, 1.0]


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_rms_norm():
    x = randn(2, 6, 3, 4)
    want = x / x.square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(RMS_norm(6)(x), want)
    torch.testing.assert_close(
        RMS_norm(6, channel_first=False)(x.movedim(1, -1)),
        want.movedim(1, -1))
    assert RMS_norm(6, images=False, bias=True).bias.shape == (6, 1, 1, 1)


@pytest.mark.parametrize('stride', [1, 2])
def test_sum_of_2d_convolutions(stride):
    # float32 on the CPU takes the sum, float64 the 3D convolution.
    conv = CausalConv3d(3, 5, 3, padding=1, stride=(stride, 1, 1))
    x = randn(2, 3, 6, 4, 5)
    padded = F.pad(x.double(), (1, 1, 1, 1, 2, 0))
    want = F.conv3d(
        padded, conv.weight.double(), conv.bias.double(), stride=conv.stride)
    torch.testing.assert_close(conv(x), want.float())
    torch.testing.assert_close(conv.double()(x.double()), want)


def test_resample_rejects_a_mode():
    with pytest.raises(ValueError, match="'upsample'"):
        Resample(4, 'upsample')


def test_attention_scales_and_training_gradient():
    model = WanVAE_(dim=4, z_dim=2, dim_mult=(1, 1), num_res_blocks=1,
                    attn_scales=(1.0,), temperal_downsample=(True,))
    kinds = [type(m).__name__ for m in model.encoder.downsamples]
    assert kinds == ['ResidualBlock', 'AttentionBlock', 'Resample',
                     'ResidualBlock']
    assert isinstance(model.decoder.upsamples[0], ResidualBlock)
    with torch.enable_grad():
        latent = model.encode(randn(1, 3, 3, 4, 4), PLAIN)
        model.decode(latent, PLAIN).square().mean().backward()
    unused = [k for k, p in model.named_parameters()
              if p.grad is None or not p.grad.isfinite().all()]
    assert unused == []
