from .attention import flash_attention
from .model import TextKV, WanModel
from .t5 import T5Encoder, T5EncoderModel
from .tokenizers import HuggingfaceTokenizer
from .vace_model import VaceWanModel
from .vae import WanVAE

__all__ = [
    'WanVAE',
    'WanModel',
    'VaceWanModel',
    'TextKV',
    'T5Encoder',
    'T5EncoderModel',
    'HuggingfaceTokenizer',
    'flash_attention',
]
