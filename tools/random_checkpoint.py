r"""Make a small checkpoint folder with random weights, laid out like Wan2.1's.

    python tools/random_checkpoint.py FOLDER [--model_type i2v] [--seed 0]

It runs through the very code that loads the official weights, and what it
generates is noise: a stand-in for tests and measurements. config.json of type
t2v names the config it stands for, as its own sizes are smaller yet.
"""
import argparse
import json
import logging
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast

from wan.configs import WAN_CONFIGS
from wan.modules.clip import XLMRobertaCLIP
from wan.modules.model import WanModel
from wan.modules.t5 import T5Encoder
from wan.modules.vace_model import VaceWanModel
from wan.modules.vae import WanVAE_
from wan.utils import words

NAME = 't2v-tiny'
CONFIG = WAN_CONFIGS[NAME]
TEXT = (
    'a an the on in of with and product watch bracelet vase bottle bag shoe '
    'gold silver red green blue white black wooden marble glass table shelf '
    'video photo turning moving camera light shadow')
WORDS = TEXT.split()

DIT = {
    'dim': 96, 'ffn_dim': 192, 'freq_dim': 64, 'num_heads': 4,
    'num_layers': 4, 'eps': CONFIG.eps,
}
T5 = {
    'vocab': len(WORDS) + len(words.SPECIAL), 'dim': 32, 'dim_attn': 32,
    'dim_ffn': 64, 'num_heads': 4, 'num_layers': 2, 'num_buckets': 32,
    'shared_pos': False,
}
# As many tokens, as wide as the official one's.
CLIP = {
    'image_size': 64, 'patch_size': 4, 'vision_dim': 1280,
    'vision_mlp_ratio': 1, 'vision_heads': 16, 'vision_layers': 2,
}
# What the transformer of a type has besides `DIT`; text beside an image always
# has 512 tokens.
IMAGE = {'in_dim': 36, 'text_len': 512}
TYPES = {
    't2v': {'in_dim': 16, 'text_len': CONFIG.text_len},
    'i2v': IMAGE,
    'flf2v': IMAGE,
    'vace': {'in_dim': 16, 'text_len': CONFIG.text_len,
             'vace_layers': [0, 2], 'vace_in_dim': 96},
}
VAE = {
    'dim': 8, 'z_dim': 16, 'dim_mult': [1, 2, 4, 4], 'num_res_blocks': 1,
    'temperal_downsample': [False, True, True],
}


def make_checkpoint(
    folder: str | Path, seed: int = 0, model_type: str = 't2v'
) -> Path:
    r"""Write every file a checkpoint of a type has; returns the folder."""
    folder = Path(folder)
    tokenizer = folder / CONFIG.t5_tokenizer
    tokenizer.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        _transformer(folder, model_type)
        _network(T5Encoder(**T5, dropout=0.), T5,
                 folder / CONFIG.t5_checkpoint, torch.bfloat16)
        _network(WanVAE_(**VAE), VAE, folder / CONFIG.vae_checkpoint,
                 torch.float32)
        if WAN_CONFIGS[f'{model_type}-14B'].get('clip_checkpoint'):
            _network(XLMRobertaCLIP(**CLIP), CLIP,
                     folder / WAN_CONFIGS['i2v-14B'].clip_checkpoint,
                     torch.float16)
    word_tokenizer().save_pretrained(tokenizer)
    return folder


def _transformer(folder: Path, model_type: str) -> None:
    config = DIT | TYPES[model_type] | {
        'model_type': model_type, 'out_dim': 16, 'text_dim': T5['dim']}
    kind = VaceWanModel if model_type == 'vace' else WanModel
    model = kind(**config)
    # What starts at zero, the head and the way in and out of controls, would
    # show nothing.
    torch.nn.init.normal_(model.head.head.weight, std=.05)
    for name, weight in model.named_parameters():
        if name.endswith(('before_proj.weight', 'after_proj.weight')):
            torch.nn.init.normal_(weight, std=.05)
    named = {'wan_config': NAME} if model_type == 't2v' else {}
    (folder / 'config.json').write_text(json.dumps(
        {'_class_name': kind.__name__, **named, **config}, indent=2) + '\n')
    save_file(model.state_dict(),
              folder / 'diffusion_pytorch_model.safetensors')


def _network(model, kwargs: dict, path: Path, dtype: torch.dtype) -> None:
    torch.save(
        {k: v.to(dtype) for k, v in model.state_dict().items()}, path)
    path.with_suffix('.json').write_text(json.dumps(kwargs, indent=2) + '\n')


def word_tokenizer() -> PreTrainedTokenizerFast:
    r"""Of `WORDS`."""
    return words.word_tokenizer(WORDS)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--model_type', choices=list(TYPES), default='t2v')
    args = parser.parse_args()
    make_checkpoint(args.folder, args.seed, args.model_type)
    logging.info('Random weights in %s', args.folder)


if __name__ == '__main__':
    main()
