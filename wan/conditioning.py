r"""What a prompt, and whatever else was given, tells the model.

A checkpoint's model type (in its config.json) decides what a condition needs:
`CONDITIONERS` has one function for each. Whoever samples or edits asks for the
checkpoint's own and hands the result on unseen.
"""
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from .modules.model import WanModel
from .modules.slots import TextKV


@dataclass(frozen=True)
class Condition:
    r"""All that a branch tells the model besides latent and time.

    Args:
        text: of a batch of prompts, projected once; or their embeddings
            [L, C], projected anew in each forward.
        inputs: further arguments of the model's forward, by name.
    """
    text: TextKV | tuple[torch.Tensor, ...]
    inputs: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: Sequence['Condition']) -> 'Condition':
        r"""Several conditions, all projected or none, as that of one batch."""
        if len(parts) == 1:
            return parts[0]
        texts = [part.text for part in parts]
        text = TextKV.joined(texts) if isinstance(texts[0], TextKV) \
            else tuple(u for text in texts for u in text)
        return cls(text, {
            name: _joined([part.inputs[name] for part in parts])
            for name in parts[0].inputs})


def _joined(values: Sequence[object]) -> object:
    r"""Tensors and lists hold samples; any other value is of the batch."""
    if isinstance(values[0], torch.Tensor):
        return torch.cat(list(values))
    if isinstance(values[0], (list, tuple)):
        return [sample for value in values for sample in value]
    return values[0]


def text_condition(
    model: WanModel, embedding: torch.Tensor, cache_text: bool = True
) -> Condition:
    r"""A prompt alone.

    Args:
        model: on the device it runs on.
        embedding: [L, C], from the text encoder.
        cache_text: project the text now and keep that, see `TextKV`.
    """
    return Condition(
        model.project_text([embedding]) if cache_text else (embedding,))


Conditioner = Callable[..., Condition]
# By model type.
CONDITIONERS: dict[str, Conditioner] = {'t2v': text_condition}
