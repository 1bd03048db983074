r"""SAM 2 (arXiv 2408.00714) and EdgeTAM (2501.07256): a hint in one frame,
carried through the video by a memory."""
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import transformers

from ..hint import Hint
from .folder import ModelFolder, Network

SAM2 = Network('Sam2VideoModel', ('sam2_video',))
EDGETAM = Network('EdgeTamVideoModel', ('edgetam_video',))
# How a prompt names a point that is product, and a box's corners.
POINT, CORNERS = [1], [2, 3]


@dataclass(frozen=True)
class Tracker:
    r"""Follows a hint.

    Args:
        folder: with the network.
        device: where it runs.
    """
    folder: ModelFolder
    device: torch.device | str = 'cpu'
    needs_place = True

    @torch.no_grad()
    def mask(
        self, video: torch.Tensor, words: str, hint: Hint
    ) -> torch.Tensor | None:
        r"""See `Segmenter`; the words say nothing to it."""
        network = self.folder.load(self.device)
        frames, height, width = video.shape[1:]
        side = network.config.prompt_encoder_config.image_size
        session = _session(self.folder)(
            video_height=height, video_width=width,
            inference_device=self.device, dtype=torch.float32)
        session.processed_frames = Pictures(self.folder, video, side)
        # Of an object that is called 1.
        session.add_point_inputs(session.obj_id_to_idx(1), hint.frame, _prompt(
            hint, (side / width, side / height)))
        session.obj_with_new_inputs = [1]
        mask = torch.zeros(frames, height, width)
        for reverse in (False, True):
            for out in network.propagate_in_video_iterator(
                    session, hint.frame, reverse=reverse):
                mask[out.frame_idx] = (F.interpolate(
                    out.pred_masks.float(), (height, width),
                    mode='bilinear')[0, 0] > 0).float()
        return mask if mask.any() else None


def _session(folder):
    r"""The class of what a network remembers of a video."""
    name = folder.network.name.replace('Model', 'InferenceSession')
    return getattr(transformers, name)


def _prompt(hint, zoom):
    r"""The hint on the grid of the network's pictures."""
    left, upper, right, lower = hint.corners
    points = [(left, upper)]
    if not hint.is_point:
        points.append((right, lower))
    labels = POINT if hint.is_point else CORNERS
    return {
        'point_coords': (torch.tensor(points) * torch.tensor(zoom))[
            None, None].float(),
        'point_labels': torch.tensor(labels, dtype=torch.int32)[None, None]}


class Pictures(Mapping[int, torch.Tensor]):
    r"""Frames as a network sees them, made when asked for.

    Args:
        folder: of the network.
        video: [3, F, H, W] in [-1, 1].
        side: of the pictures, which are square.
    """

    def __init__(self, folder: ModelFolder, video: torch.Tensor, side: int):
        self.folder, self.video, self.side = folder, video, side

    def __getitem__(self, frame: int) -> torch.Tensor:
        r"""[3, side, side]."""
        if not 0 <= frame < len(self):
            raise KeyError(frame)
        return self.folder.pictures(
            self.video[:, frame][None], (self.side, self.side))[0]

    def __iter__(self):
        return iter(range(len(self)))

    def __len__(self) -> int:
        return self.video.size(1)
