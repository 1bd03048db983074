r"""Text to video, 1.3B: the 14B's layout at another width and depth."""
from easydict import EasyDict

from .wan_t2v_14B import t2v_14B

t2v_1_3B = EasyDict(
    t2v_14B,
    __name__='Config: Wan T2V 1.3B',
    dim=1536,
    ffn_dim=8960,
    num_heads=12,
    num_layers=30,
)
