r"""Prompt cleaning and tokens, and where in a prompt a word's tokens are."""
import html
import os
import string
from collections.abc import Sequence
from pathlib import Path

import ftfy
import regex
import torch
from transformers import PreTrainedTokenizerFast

from ..utils.checkpoint import CheckpointError, check_tokenizer
from ..utils.plain_files import reason

__all__ = ['HuggingfaceTokenizer']

PUNCTUATION = str.maketrans('', '', string.punctuation)

# No vocabulary has it: a tokenizer must do without.
UNUSUAL = '\U0010fffd'
# Scripts written without spaces have no words to be in the middle of.
LETTER = r'[\w--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]]'
WORD_EDGE = rf'(?!(?<={LETTER}){LETTER})'


def basic_clean(text: str) -> str:
    r"""Repair broken Unicode and resolve HTML entities, also doubled ones."""
    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


def whitespace_clean(text: str) -> str:
    r"""Every run of Unicode white space becomes one space, none at the ends.

    White space is that of the regex module; re counts control characters too.
    """
    return regex.sub(r'\s+', ' ', text).strip()


def canonicalize(
    text: str, keep_punctuation_exact_string: str | None = None
) -> str:
    r"""Lower case without ASCII punctuation; underscores become spaces.

    Args:
        text: any text.
        keep_punctuation_exact_string: a string, such as '{}', to leave as it
            is wherever it occurs.
    """
    keep = keep_punctuation_exact_string
    text = text.replace('_', ' ')
    parts = text.split(keep) if keep else [text]
    text = (keep or '').join(part.translate(PUNCTUATION) for part in parts)
    return whitespace_clean(text.lower())


CLEANERS = {
    None: str,
    'whitespace': lambda text: whitespace_clean(basic_clean(text)),
    'lower': lambda text: whitespace_clean(basic_clean(text)).lower(),
    'canonicalize': lambda text: canonicalize(basic_clean(text)),
}


class HuggingfaceTokenizer:
    r"""A tokenizer.json with the cleaning its text encoder was trained on.

    Attributes:
        size: one more than the largest token id there is.
    """

    def __init__(
        self,
        name: str | Path,
        seq_len: int | None = None,
        clean: str | None = None,
        **kwargs,
    ):
        r"""Load a tokenizer, from disk alone if `name` is a path on it.

        Args:
            name: folder with a tokenizer.json, or a name on the Hugging Face
                hub.
            seq_len: pad and truncate to this many tokens; None does neither.
            clean: None, 'whitespace', 'lower' or 'canonicalize'.
            kwargs: for `PreTrainedTokenizerFast.from_pretrained`.

        Raises:
            ValueError: unknown `clean`.
            CheckpointError: no readable tokenizer there.
        """
        if clean not in CLEANERS:
            raise ValueError(
                f'clean is {clean!r}, allowed: '
                f'{", ".join(map(repr, CLEANERS))}.')
        self.name = name
        self.seq_len = seq_len
        self.clean = clean
        local = os.path.lexists(name)
        kwargs.setdefault('local_files_only', local)
        if local:
            check_tokenizer(name)
        try:
            # Not AutoTokenizer: in transformers 5 the class that umT5's files
            # name rebuilds the tokenizer, without byte fallback, and gives
            # other ids than the tokenizer.json itself.
            self.tokenizer = PreTrainedTokenizerFast.from_pretrained(
                name, **kwargs)
            self.size = 1 + max(self.tokenizer.get_vocab().values())
            for text in ('', UNUSUAL):
                self._encode([text], return_offsets_mapping=True)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # tokenizers raises bare ones, panics
            raise CheckpointError(
                f'No tokenizer.json at {name} can be read; it must be a folder '
                f'with one or a name on the Hugging Face hub '
                f'({reason(error)}).') from error
        self.vocab_size = self.tokenizer.vocab_size

    def __call__(
        self, sequence: str | Sequence[str], **kwargs
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        r"""Token ids of one text or several.

        Args:
            sequence: B texts; one text alone is a batch of one.
            kwargs: for the tokenizer, such as `add_special_tokens`; and
                `return_mask`, to get the mask too.

        Returns:
            ids [B, L]; with `return_mask` also a mask [B, L], 1 at tokens and
            0 at padding.
        """
        return_mask = kwargs.pop('return_mask', False)
        texts = [sequence] if isinstance(sequence, str) else sequence
        out = self._encode([self._clean(text) for text in texts], **kwargs)
        ids = out['input_ids']
        return (ids, out['attention_mask']) if return_mask else ids

    def token_positions(self, text: str, words: str) -> list[int]:
        r"""Which tokens of a prompt make up a word or phrase.

        Whole words are found, whatever their case, wherever they occur. In
        Chinese, Japanese and Thai, where words have no visible ends, any
        occurrence counts; a token that also covers a neighbour is included.

        Args:
            text: the prompt.
            words: the word or phrase.

        Returns:
            Ascending positions in the ids that the prompt is encoded to.

        Raises:
            ValueError: not in the prompt, or only in the part cut off.
        """
        text, words = self._clean(text), self._clean(words)
        pattern = f'(?V1i){WORD_EDGE}{regex.escape(words)}{WORD_EDGE}'
        found = regex.finditer(pattern, text) if words else ()
        spans = [match.span() for match in found]
        # Tokens that stand for no text, such as padding, have empty spans.
        offsets = self._encode([text], return_offsets_mapping=True)
        positions = [
            i for i, (start, end) in
            enumerate(offsets['offset_mapping'][0].tolist())
            if any(start < b and end > a for a, b in spans)]
        if not positions:
            part = f' (its first {self.seq_len} tokens)' if self.seq_len else ''
            raise ValueError(f'{words!r} is not in the prompt {text!r}{part}.')
        return positions

    def unknown(self, text: str) -> list[str]:
        r"""The parts of a text that have no token of their own, in order."""
        text = self._clean(text)
        out = self._encode([text], return_offsets_mapping=True)
        return [
            text[start:end] for token, (start, end) in zip(
                out['input_ids'][0].tolist(),
                out['offset_mapping'][0].tolist(), strict=True)
            if token == self.tokenizer.unk_token_id]

    def _encode(self, texts: list[str], **kwargs):
        options = {'return_tensors': 'pt'}
        if self.seq_len is not None:
            options |= {
                'padding': 'max_length', 'truncation': True,
                'max_length': self.seq_len}
        return self.tokenizer(texts, **options | kwargs)

    def _clean(self, text: str) -> str:
        return CLEANERS[self.clean](text)
