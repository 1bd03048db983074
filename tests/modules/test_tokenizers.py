r"""Prompt cleaning at the recorded texts, tokens, and where words are."""
import json
from pathlib import Path

import pytest
import regex
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests import goldens
from wan.modules.tokenizers import (
    CLEANERS,
    HuggingfaceTokenizer,
    basic_clean,
    canonicalize,
    whitespace_clean,
)

TINY = goldens.GOLDENS / 'tiny_tokenizer'
EMBEDDED = Path(__file__).parents[2] / 'checkpoints/tiny/google/umt5-xxl'
ROWS = json.loads((goldens.GOLDENS / 'tokenizer_clean.json').read_text())[
    'rows']


@pytest.fixture(scope='module')
def pieces(tmp_path_factory):
    r"""A folder like umT5's: word pieces, bytes for the rest, T5's class."""
    words = ('▁a', '▁silver', '▁watch', '▁brace', 'let', 'let,', '▁on', 'watch',
             '▁可爱的', '猫在', '草地')
    vocab = [(token, 0.) for token in ('<pad>', '</s>', '<s>', '<unk>')]
    vocab += [('▁', -5.)] + [(f'<0x{i:02X}>', -9.) for i in range(256)]
    vocab += [(word, -1.) for word in words]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=3, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single='$A </s>', special_tokens=[('</s>', 1)])
    tokenizer.add_special_tokens(['<pad>', '</s>', '<s>', '<unk>'])
    folder = tmp_path_factory.mktemp('pieces')
    tokenizer.save(str(folder / 'tokenizer.json'))
    (folder / 'tokenizer_config.json').write_text(json.dumps({
        'tokenizer_class': 'T5Tokenizer', 'pad_token': '<pad>',
        'eos_token': '</s>', 'unk_token': '<unk>', 'extra_ids': 0}))
    return folder


def test_unknown_words_are_named():
    tokenizer = HuggingfaceTokenizer(
        EMBEDDED, seq_len=64, clean='whitespace')
    assert tokenizer.unknown('a  silver star on a marble spaceship.') == [
        'silver', 'spaceship']
    assert tokenizer.unknown('') == []


@pytest.mark.parametrize('row', ROWS, ids=[repr(r['in']) for r in ROWS])
def test_cleaning_is_the_recorded_one(row):
    text = row['in']
    got = {
        'in': text,
        'basic_clean': basic_clean(text),
        'whitespace_clean_alone': whitespace_clean(text),
        'canonicalize_alone': canonicalize(text),
        'canonicalize_keep': canonicalize(text, '{}'),
    }
    for clean in ('whitespace', 'lower', 'canonicalize'):
        got[f'clean_{clean}'] = CLEANERS[clean](text)
    assert got == row


def test_whitespace_is_the_regex_modules():
    separator = '\x1f'  # white space to re, not to regex
    assert not regex.match(r'\s', separator)
    assert whitespace_clean(f'a{separator}b') == f'a{separator}b'


def test_ids_and_mask_are_the_recorded_ones():
    params, _, want = goldens.case('t5_call')
    tokenizer = HuggingfaceTokenizer(
        TINY, seq_len=params['text_len'], clean='whitespace')
    ids, mask = tokenizer(
        params['texts'], return_mask=True, add_special_tokens=True)
    assert torch.equal(ids, want['ids'])
    assert torch.equal(mask, want['mask'])
    assert torch.equal(tokenizer(params['texts'][1]), want['ids'][1:2])
    assert tokenizer.vocab_size == 17


def test_call_options():
    tokenizer = HuggingfaceTokenizer(TINY)
    assert tokenizer('two cats').tolist() == [[3, 4, 1]]
    assert tokenizer(
        ['two cats'], add_special_tokens=False).tolist() == [[3, 4]]
    # without cleaning the entity stays, unknown word by unknown word
    cleaned = HuggingfaceTokenizer(TINY, clean='whitespace')
    assert tokenizer('&#33;').shape != cleaned('&#33;').shape
    assert cleaned('&#33;').tolist() == [[13, 1]]


def test_tokenizer_json_is_taken_as_it_is(pieces):
    text = 'a silver é 猫 watch'
    want = Tokenizer.from_file(str(pieces / 'tokenizer.json')).encode(text).ids
    assert HuggingfaceTokenizer(pieces)(text).tolist() == [want]
    assert 3 not in want  # nothing unknown: bytes instead


@pytest.mark.parametrize('name', ('nowhere', ''))
def test_missing_tokenizer(tmp_path, name):
    folder = tmp_path / name
    with pytest.raises(ValueError, match='No tokenizer.json at ') as error:
        HuggingfaceTokenizer(folder)
    assert str(folder) in str(error.value)


def test_unknown_clean():
    with pytest.raises(ValueError, match="'both'.*'whitespace'"):
        HuggingfaceTokenizer(TINY, clean='both')


@pytest.mark.parametrize('words, want', (
    ('cats', [1]),
    ('Two  CATS', [0, 1]),
    ('the blue bird', [4, 5, 6, 9, 10, 11]),
    ('bird', [6, 11]),
    ('box &amp; the', [2, 3, 4]),
    (',', [8]),
))
def test_token_positions(words, want):
    tokenizer = HuggingfaceTokenizer(TINY, seq_len=20, clean='whitespace')
    text = 'Two\n cats box &amp; the blue bird flies , The blue bird'
    assert tokenizer.token_positions(text, words) == want


@pytest.mark.parametrize('words', ('cat', 'bird box', 'fl', '', ' ', '.*'))
def test_words_that_are_not_in_the_prompt(words):
    tokenizer = HuggingfaceTokenizer(TINY, seq_len=20, clean='whitespace')
    with pytest.raises(ValueError, match='the prompt .two cats flies !'):
        tokenizer.token_positions('two  cats flies !', words)


def test_words_past_the_cut():
    tokenizer = HuggingfaceTokenizer(TINY, seq_len=3, clean='whitespace')
    assert tokenizer.token_positions('two cats box', 'cats') == [1]
    with pytest.raises(ValueError, match='first 3 tokens'):
        tokenizer.token_positions('two cats box', 'box')


@pytest.mark.parametrize('text, words, want', (
    ('a silver watch on a bracelet', 'watch', ['▁watch']),
    ('a silver watch on a bracelet', 'Bracelet', ['▁brace', 'let']),
    ('a silver watch on a bracelet', 'silver watch', ['▁silver', '▁watch']),
    ('a bracelet, a watch', 'bracelet', ['▁brace', 'let,']),
    ('可爱的猫在草地', '猫', ['猫在']),
    ('可爱的猫在草地', '草地', ['草地']),
    ("a watch's on", 'watch', ['▁watch']),
))
def test_token_positions_of_word_pieces(pieces, text, words, want):
    tokenizer = HuggingfaceTokenizer(pieces, seq_len=30, clean='whitespace')
    at = tokenizer.token_positions(text, words)
    ids = tokenizer(text)[0, at].tolist()
    assert tokenizer.tokenizer.convert_ids_to_tokens(ids) == want
