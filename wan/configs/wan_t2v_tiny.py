r"""Text to video at laptop size: the official layout, very small.

These are the sizes of the embedded model in checkpoints/tiny.
"""
from easydict import EasyDict

from .wan_t2v_14B import t2v_14B

t2v_tiny = EasyDict(
    t2v_14B,
    __name__='Config: Wan T2V tiny',
    text_len=64,
    dim=256,
    ffn_dim=1024,
    freq_dim=256,
    num_heads=4,
    num_layers=8,
    # It has learned what to do without words, not what unwanted words mean.
    sample_neg_prompt='',
    # What settings left out mean to it, of every task that has them.
    defaults={
        'prompt': 'a striped red and white star on a wooden table.',
        'size': '128*128',
        'frame_num': 17,
        'sample_steps': 25,
        'sample_guide_scale': 5.0,
        'edit_guide_scales': {'flowalign': 7.5},
    },
)
