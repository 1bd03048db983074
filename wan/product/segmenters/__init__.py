r"""Networks of other kinds that find the product: classes of `transformers`,
their weights in a folder of the user's.

Each is a `Segmenter` of `wan.product.finding`. Nothing is ever fetched.
"""
import torch

from ..finding import Segmenter
from .folder import ModelFolder
from .grounded import Grounded
from .tracking import EDGETAM, SAM2, Tracker
from .worded import CLIPSEG, SAM3, ClipSeg, Sam3

SEGMENTERS = {
    'sam2': (Tracker, SAM2),
    'edgetam': (Tracker, EDGETAM),
    'sam3': (Sam3, SAM3),
    'grounded-sam2': (Grounded, None),
    'clipseg': (ClipSeg, CLIPSEG),
}
# Those that look for words.
WORDED = ('sam3', 'grounded-sam2', 'clipseg')


def open_segmenter(
    method: str, folder: str, device: torch.device | str = 'cpu'
) -> Segmenter:
    r"""A segmenter whose folder is checked; its weights are not yet read.

    Args:
        method: key of `SEGMENTERS`.
        folder: of the weights.
        device: where it runs; it is there only while it does.

    Raises:
        ValueError: what it lacks, in one sentence.
    """
    kind, network = SEGMENTERS[method]
    if network is None:
        return kind.of(method, folder, device)
    return kind(ModelFolder.checked(method, folder, network), device)
