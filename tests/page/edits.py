r"""A quick edit by the embedded model, as visitors of the page ask for it."""
import time
from pathlib import Path

from tests.test_layers import ROOT
from wan.page.station import Station

EXAMPLES = ROOT / 'examples'
SOURCE = 'a striped red and white heart on a brown wooden table.'
TARGET = 'a dotted turquoise and yellow heart on a brown wooden table.'
# One frame, two steps.
QUICK = {
    'source_prompt': SOURCE, 'target_prompt': TARGET, 'sample_steps': 2,
    'end': 0.05, 'base_seed': 0, 'save_comparison': False,
    'measure': False}
# The quickest job there is.
CLIP = {'prompt': 'a red disc.', 'frame_num': 1, 'sample_steps': 1,
        'base_seed': 0}
PHOTOS = [EXAMPLES / f'product{end}.png' for end in ('', '_2', '_3')]


def uploaded(station: Station, visitor: str, photo: Path = PHOTOS[0]) -> dict:
    r"""The settings of an edit, its files uploaded."""
    return {
        **QUICK,
        'src_video': station.accept(
            EXAMPLES / 'template.mp4', 'video', visitor),
        'target_image': (station.accept(photo, 'image', visitor),)}


def until(condition, seconds: float = 300.):
    r"""What a condition gives once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, 'it never came'
        time.sleep(0.01)
    return found
