r"""Grounding DINO (arXiv 2303.05499) finds the words in a frame, SAM 2
follows what it found."""
from dataclasses import dataclass
from pathlib import Path

import torch

from ..hint import Hint
from .folder import ModelFolder, Network, model_type
from .tracking import SAM2, Tracker

DINO = Network('GroundingDinoForObjectDetection', ('grounding-dino',),
               has_words=True)
# Frames in which is looked, and the score from which a box counts.
LOOKS, SCORE = 5, 0.25
# Sides of the pictures: the shorter one, and the longer one at most.
SHORTER, LONGER = 800, 1333


@dataclass(frozen=True)
class Grounded:
    r"""The box of the words, followed.

    Args:
        detector: the folder of Grounding DINO.
        tracker: SAM 2.
        device: where they run, one after the other.
    """
    detector: ModelFolder
    tracker: Tracker
    device: torch.device | str = 'cpu'
    needs_place = False

    @classmethod
    def of(
        cls, method: str, folder: str, device: torch.device | str
    ) -> 'Grounded':
        r"""Of a folder that holds the folders of both.

        Raises:
            ValueError: what it lacks, in one sentence.
        """
        if not Path(folder).is_dir():
            raise ValueError(
                f'mask_method {method} needs mask_model, a folder that holds '
                f'one of Grounding DINO and one of SAM 2; {folder} is none.')
        inside = {model_type(part): part
                  for part in sorted(Path(folder).iterdir())}
        parts = []
        for network in (DINO, SAM2):
            kind = network.model_types[0]
            if kind not in inside:
                raise ValueError(
                    f'mask_method {method} needs mask_model, a folder that '
                    f'holds one of Grounding DINO and one of SAM 2; {folder} '
                    f'has none whose config.json has the model_type {kind}.')
            parts.append(ModelFolder.checked(method, inside[kind], network))
        return cls(parts[0], Tracker(parts[1], device), device)

    @torch.no_grad()
    def mask(
        self, video: torch.Tensor, words: str, hint: Hint | None
    ) -> torch.Tensor | None:
        r"""See `Segmenter`.

        A hint picks among the boxes of its frame and, if none is there, is
        followed itself.
        """
        box = self._box(video, words, hint) or hint
        return None if box is None else self.tracker.mask(video, words, box)

    def _box(self, video, words, hint) -> Hint | None:
        r"""The best box in some frames, or at the hint."""
        network = self.detector.load(self.device)
        text = {name: value.to(self.device) for name, value in
                self.detector.tokens(f'{words.lower().strip(" .")}.').items()}
        frames, height, width = video.shape[1:]
        zoom = min(SHORTER / min(height, width), LONGER / max(height, width))
        size = round(height * zoom), round(width * zoom)
        looks = [hint.frame] if hint else sorted(
            {round(i * (frames - 1) / (LOOKS - 1)) for i in range(LOOKS)})
        best, box = 0., None
        for frame in looks:
            out = network(pixel_values=self.detector.pictures(
                video[:, frame][None], size).to(self.device), **text)
            scores = out.logits[0].sigmoid().amax(-1).tolist()
            for score, place in zip(
                    scores, out.pred_boxes[0].tolist(), strict=True):
                found = _hint(place, (width, height), frame)
                fit = score if hint is None else score * _agreement(
                    found, hint)
                if score > SCORE and fit > best:
                    best, box = fit, found
        return box


def _hint(place, size, frame) -> Hint:
    r"""A box given by centre and sides, as shares of the picture."""
    x, y, width, height = (
        share * side for share, side in zip(place, size * 2, strict=True))
    return Hint(x - width / 2, y - height / 2, width, height, frame)


def _agreement(box: Hint, hint: Hint) -> float:
    r"""Intersection over union; of a point, whether it is inside."""
    a, b = box.corners, hint.corners
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    if min(sides) < 0:
        return 0.
    if hint.is_point:
        return 1.
    common = sides[0] * sides[1]
    return common / (box.width * box.height + hint.width * hint.height
                     - common)
