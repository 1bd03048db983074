from . import configs, distributed, modules
from .first_last_frame2video import WanFLF2V
from .image2video import WanI2V
from .pvtt import WanPVTT
from .text2video import WanT2V
from .vace import WanVace

__all__ = ['WanFLF2V', 'WanI2V', 'WanPVTT', 'WanT2V', 'WanVace', 'configs',
           'distributed', 'modules']
