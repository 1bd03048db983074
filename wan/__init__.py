from . import configs, distributed, modules
from .pvtt import WanPVTT
from .text2video import WanT2V
from .vace import WanVace

__all__ = [
    'WanPVTT', 'WanT2V', 'WanVace', 'configs', 'distributed', 'modules']
