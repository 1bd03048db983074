r"""SAM 3 (arXiv 2511.16719) and CLIPSeg (2112.10003): words, frame by frame."""
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..following import follow
from ..hint import Hint
from ..locate import log_odds
from ..mixture import segment
from .folder import ModelFolder, Network

HALF = (0.5,) * 3
SAM3 = Network('Sam3Model', ('sam3_video', 'sam3'), has_words=True,
               normal=(HALF, HALF))
CLIPSEG = Network('CLIPSegForImageSegmentation', ('clipseg',), has_words=True)
# Tokens of SAM 3's text, score from which an instance counts.
TOKENS, SCORE = 32, 0.5
# Frames at a time, side of the cells of a rough map.
BATCH, CELLS = 4, 64


@dataclass(frozen=True)
class Sam3:
    r"""All that the words name or, with a hint, the one at it.

    The frames are looked at one by one, by the detector of the folder's
    weights; its own tracker would fetch code while it runs.

    Args:
        folder: with the network.
        device: where it runs.
    """
    folder: ModelFolder
    device: torch.device | str = 'cpu'
    needs_place = False

    @torch.no_grad()
    def mask(
        self, video: torch.Tensor, words: str, hint: Hint | None
    ) -> torch.Tensor | None:
        r"""See `Segmenter`."""
        network = self.folder.load(self.device)
        side = network.config.vision_config.backbone_config.image_size
        text = {name: value.to(self.device) for name, value in
                self.folder.tokens(words, TOKENS).items()}
        text = {name: text[name] for name in ('input_ids', 'attention_mask')}
        frames = []
        for part in _parts(self.folder, video, side, 1, self.device):
            out = network(pixel_values=part, **text)
            scores = out.pred_logits.sigmoid()
            if out.presence_logits is not None:
                scores = scores * out.presence_logits.sigmoid()
            found = out.pred_masks[0][scores[0] > SCORE].float()
            frames.append((F.interpolate(
                found[None], video.shape[2:], mode='bilinear')[0] > 0)
                .any(0).float().cpu() if len(found)
                else torch.zeros(video.shape[2:]))
        mask = torch.stack(frames)
        if hint is not None:
            mask = follow(mask, hint.marks((*mask.shape[1:],) * 2),
                          hint.frame)
        return mask if mask.any() else None


@dataclass(frozen=True)
class ClipSeg:
    r"""A rough map of the words, sharpened by the video's colours.

    Args:
        folder: with the network.
        device: where it runs.
    """
    folder: ModelFolder
    device: torch.device | str = 'cpu'
    needs_place = False

    @torch.no_grad()
    def mask(
        self, video: torch.Tensor, words: str, hint: Hint | None
    ) -> torch.Tensor | None:
        r"""See `Segmenter`."""
        network = self.folder.load(self.device)
        text = self.folder.tokens(words)['input_ids'].to(self.device)
        side = self.folder.side(352)
        heat = []
        for part in _parts(self.folder, video, side, BATCH, self.device):
            logits = network(
                pixel_values=part, input_ids=text.expand(len(part), -1)
            ).logits.view(len(part), 1, side, side)
            heat.append(F.adaptive_avg_pool2d(
                logits.float().sigmoid(), CELLS)[:, 0].cpu())
        odds = log_odds(torch.cat(heat))
        return None if odds is None else segment(video, odds, hint)


def _parts(
    folder: ModelFolder, video: torch.Tensor, side: int, count: int,
    device: torch.device | str,
) -> Iterator[torch.Tensor]:
    r"""The frames of a video, so many at a time, [N, 3, side, side]."""
    for frames in video.split(count, dim=1):
        yield folder.pictures(frames.transpose(0, 1), (side, side)).to(device)
