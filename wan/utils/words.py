r"""A tokenizer of whole words, for text encoders with a small vocabulary."""
from collections.abc import Sequence

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SPECIAL = ('<pad>', '</s>', '<unk>')


def word_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    r"""One token a word; as in umT5's, </s> ends a text and <pad> is 0."""
    vocab = {word: i for i, word in enumerate((*SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token='<unk>'))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single='$A </s>', special_tokens=[('</s>', 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token='<pad>', eos_token='</s>',
        unk_token='<unk>')
