import torch
import torch.nn as nn

from .tokenizers import HuggingfaceTokenizer


class T5EncoderModel:

    def __init__(self, text_len, dtype=torch.bfloat16, device=None,
                 checkpoint_path=None, tokenizer_path=None, shard_fn=None):
        self.model = nn.Embedding(64, 32)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            self.model.weight.normal_(generator=generator)
        self.tokenizer = HuggingfaceTokenizer(tokenizer_path, text_len)

    def __call__(self, texts, device):
        return [self.model(torch.tensor(self.tokenizer(text), device=device))
                for text in texts]
