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


def frame_condition(
    model: WanModel,
    embedding: torch.Tensor,
    cache_text: bool = True,
    *,
    clip_fea: torch.Tensor,
    y: torch.Tensor,
) -> Condition:
    r"""A prompt and given frames: the first, or first and last.

    Args:
        model, embedding, cache_text: see `text_condition`.
        clip_fea: [1, 257, 1280] of the first frame; of flf2v [2, 257, 1280].
        y: [4 + C, T, h, w], which frames are given, and their latents.
    """
    if cache_text:
        return Condition(model.project_text([embedding], clip_fea), {'y': [y]})
    return Condition((embedding,), {'y': [y], 'clip_fea': clip_fea})


def control_condition(
    model: WanModel,
    embedding: torch.Tensor,
    cache_text: bool = True,
    *,
    vace_context: torch.Tensor | None = None,
    vace_context_scale: float = 1.0,
) -> Condition:
    r"""A prompt and a VACE context.

    Args:
        model, embedding, cache_text: see `text_condition`.
        vace_context: [2 C + 64, T, h, w]; without one the checkpoint is the
            text-to-video model that it was made from.
        vace_context_scale: weight of its hints.
    """
    return Condition(
        text_condition(model, embedding, cache_text).text, {
            'vace_context': None if vace_context is None else [vace_context],
            'vace_context_scale': vace_context_scale})


Conditioner = Callable[..., Condition]
# By model type.
CONDITIONERS: dict[str, Conditioner] = {
    't2v': text_condition,
    'i2v': frame_condition,
    'flf2v': frame_condition,
    'vace': control_condition,
}
