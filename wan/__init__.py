from . import configs, distributed, modules
from .pvtt import WanPVTT
from .text2video import WanT2V

__all__ = ['WanPVTT', 'WanT2V', 'configs', 'distributed', 'modules']
