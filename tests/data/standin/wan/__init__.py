from . import configs, distributed, modules
from .text2video import WanT2V
