r"""The embedded text encoder: umT5's, small, one token a word."""
import json
from pathlib import Path

import torch

from wan.configs import WAN_CONFIGS
from wan.modules.t5 import T5Encoder
from wan.modules.tokenizers import HuggingfaceTokenizer
from wan.utils.record import atomic_write
from wan.utils.words import SPECIAL, word_tokenizer

from .world import WORLDS, World

CONFIG = WAN_CONFIGS['t2v-tiny']
SIZES = {
    'dim': 128, 'dim_attn': 128,
    'dim_ffn': 256, 'num_heads': 4, 'num_layers': 2, 'num_buckets': 32,
    'shared_pos': False,
}


def sizes(world: World) -> dict[str, int | bool]:
    r"""Arguments of the text encoder of a world's captions."""
    return {'vocab': len(SPECIAL) + len(world.vocabulary), **SIZES}


def vocabulary(world: World) -> dict[str, int]:
    r"""Token of each word, the special ones included."""
    return {word: i for i, word in enumerate((*SPECIAL, *world.vocabulary))}


def read_vocabulary(checkpoint: Path) -> dict[str, int]:
    r"""The same of the tokenizer in a checkpoint."""
    file = checkpoint / CONFIG.t5_tokenizer / 'tokenizer.json'
    return json.loads(file.read_text('utf-8'))['model']['vocab']


def write_tokenizer(
    checkpoint: Path, world: World = WORLDS['flat']
) -> HuggingfaceTokenizer:
    r"""Write the captions' tokenizer into a checkpoint; returns it, loaded."""
    folder = checkpoint / CONFIG.t5_tokenizer
    folder.mkdir(parents=True, exist_ok=True)
    word_tokenizer(world.vocabulary).save_pretrained(folder)
    return HuggingfaceTokenizer(
        folder, seq_len=CONFIG.text_len, clean='whitespace')


def write_encoder(
    checkpoint: Path, encoder: T5Encoder, world: World = WORLDS['flat']
) -> None:
    r"""Write the weights in bfloat16 and, beside them, the sizes."""
    path = checkpoint / CONFIG.t5_checkpoint
    with atomic_write(path) as temporary:
        torch.save({k: v.to('cpu', torch.bfloat16)
                    for k, v in encoder.state_dict().items()}, temporary)
    with atomic_write(path.with_suffix('.json')) as temporary:
        temporary.write_text(json.dumps(sizes(world), indent=2) + '\n')
