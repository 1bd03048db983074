r"""Every model, size and the sizes each model supports.

A size reads 'width*height' in pixels.
"""
import os

from easydict import EasyDict

from .wan_i2v_14B import i2v_14B
from .wan_t2v_1_3B import t2v_1_3B
from .wan_t2v_14B import t2v_14B
from .wan_t2v_tiny import t2v_tiny

# Tokenizers warn when a process that used their threads forks.
os.environ['TOKENIZERS_PARALLELISM'] = 'false'

t2i_14B = EasyDict(t2v_14B, __name__='Config: Wan T2I 14B')
flf2v_14B = EasyDict(
    i2v_14B,
    __name__='Config: Wan FLF2V 14B',
    sample_neg_prompt='镜头切换，' + i2v_14B.sample_neg_prompt,
)

WAN_CONFIGS = {
    't2v-14B': t2v_14B,
    't2v-1.3B': t2v_1_3B,
    'i2v-14B': i2v_14B,
    't2i-14B': t2i_14B,
    'flf2v-14B': flf2v_14B,
    'vace-1.3B': t2v_1_3B,
    'vace-14B': t2v_14B,
    # ours, appended
    't2v-tiny': t2v_tiny,
}

SIZE_CONFIGS = {
    '720*1280': (720, 1280),
    '1280*720': (1280, 720),
    '480*832': (480, 832),
    '832*480': (832, 480),
    '1024*1024': (1024, 1024),
    # ours, appended
    '128*128': (128, 128),
}

_480P = ('480*832', '832*480')
_720P = ('720*1280', '1280*720')

MAX_AREA_CONFIGS = {
    size: w * h
    for size, (w, h) in SIZE_CONFIGS.items() if size in _720P + _480P
}

SUPPORTED_SIZES = {
    't2v-14B': _720P + _480P,
    't2v-1.3B': _480P,
    'i2v-14B': _720P + _480P,
    'flf2v-14B': _720P + _480P,
    't2i-14B': _720P + _480P + ('1024*1024',),
    'vace-1.3B': _480P,
    'vace-14B': _720P + _480P,
    't2v-tiny': ('128*128',),
}
