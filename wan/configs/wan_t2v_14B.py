r"""Text to video, 14B."""
from easydict import EasyDict

from .shared_config import wan_shared_cfg

t2v_14B = EasyDict(
    __name__='Config: Wan T2V 14B',
    **wan_shared_cfg,
    t5_checkpoint='models_t5_umt5-xxl-enc-bf16.pth',
    t5_tokenizer='google/umt5-xxl',
    vae_checkpoint='Wan2.1_VAE.pth',
    vae_stride=(4, 8, 8),
    patch_size=(1, 2, 2),
    dim=5120,
    ffn_dim=13824,
    freq_dim=256,
    num_heads=40,
    num_layers=40,
    window_size=(-1, -1),
    qk_norm=True,
    cross_attn_norm=True,
    eps=1e-6,
)
