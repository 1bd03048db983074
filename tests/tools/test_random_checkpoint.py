r"""The random checkpoint: what names it, and that the seed decides it."""
import json

import pytest

from tools.random_checkpoint import make_checkpoint
from wan.configs import WAN_CONFIGS
from wan.modules.model import WanModel
from wan.modules.tokenizers import HuggingfaceTokenizer


def test_its_config_is_named(checkpoint):
    config = json.loads((checkpoint / 'config.json').read_text('utf-8'))
    assert config['wan_config'] == 't2v-tiny'
    named = WAN_CONFIGS['t2v-tiny']
    assert config['dim'] < named.dim
    assert config['text_len'] == named.text_len


@pytest.mark.parametrize('seed, same', [(0, True), (1, False)])
def test_the_seed_decides_the_weights(checkpoint, tmp_path, seed, same):
    other = make_checkpoint(tmp_path / 'other', seed)
    first, second = (
        WanModel.from_pretrained(folder) for folder in (checkpoint, other))
    assert first.config == second.config
    assert first.head.head.weight.equal(second.head.head.weight) == same


def test_a_text_ends_with_its_own_token(checkpoint):
    tokenizer = HuggingfaceTokenizer(
        checkpoint / WAN_CONFIGS['t2v-tiny'].t5_tokenizer, seq_len=5)
    ids = tokenizer('a gold watch')[0].tolist()
    assert len(set(ids[:3])) == 3 and min(ids[:3]) > 2
    assert ids[3:] == [1, 0]
