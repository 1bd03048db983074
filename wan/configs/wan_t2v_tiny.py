r"""Text to video at laptop size: the official layout, very small."""
from easydict import EasyDict

from .wan_t2v_14B import t2v_14B

t2v_tiny = EasyDict(
    t2v_14B,
    __name__='Config: Wan T2V tiny',
    text_len=64,
    dim=192,
    ffn_dim=768,
    freq_dim=64,
    num_heads=4,
    num_layers=6,
)
