r"""What is kept of a benchmark, and of what its numbers depend on.

WORK holds, for each row, a file KEY.jsonl of one line per finished edit. KEY
is a hash of everything the numbers depend on, so other settings write another
file and nothing is mixed or lost. The first pairs' edits are kept as strips of
frames, WORK/frames/KEY-PAIR-PHOTO.png, for the contact sheets.
"""
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wan.configs import WAN_CONFIGS
from wan.runtime import Runtime
from wan.utils.checkpoint import check_checkpoint
from wan.utils.image import to_bytes, unit_range
from wan.utils.record import atomic_write
from wan.utils.sources import EDITING, source_digest

from .answer import Question
from .pairs import SEEDS
from .rows import Row
from .worlds import WORLDS, World

CONFIG = WAN_CONFIGS['t2v-tiny']
RUNTIME = Runtime(device='cpu')
# Of rows that need no model, what decides their pixels.
PASTING = 'product', 'edit_config'
# Pairs of which frames are kept, and how many.
SHOWN_PAIRS, SHOWN_FRAMES = 4, 5

# Measures by (pair number, photo).
Results = dict[tuple[int, str], dict[str, float]]


@dataclass(frozen=True)
class Setup:
    r"""What all edits of a benchmark share.

    Args:
        ckpt_dir: the checkpoint's folder; None if no row needs it.
        work: where results are kept.
        seeds: key of `SEEDS`.
        size, frames: of the clips.
        judge: the judge's weights; None leaves its columns out.
        world: key of `WORLDS`.

    Raises:
        ValueError: the checkpoint lacks files.
    """
    ckpt_dir: Path | None
    work: Path
    seeds: str = 'test'
    size: int = 128
    frames: int = 17
    judge: Path | None = None
    world: str = 'flat'

    def __post_init__(self):
        if self.ckpt_dir is not None:
            check_checkpoint(self.ckpt_dir, CONFIG)

    @property
    def questions(self) -> World:
        r"""Of the world."""
        return WORLDS[self.world]

    @cached_property
    def facts(self) -> dict[str, object]:
        r"""What all results depend on besides their row."""
        return {
            'judge': self.judge and _fingerprint(self.judge),
            'seeds': self.seeds, 'size': self.size, 'frames': self.frames,
            'world': self.world,
            'sources': source_digest(*PASTING, *self.questions.sources)}

    @cached_property
    def model_facts(self) -> dict[str, object]:
        r"""And those of rows that need the model."""
        return {
            'checkpoint': _fingerprint(self.ckpt_dir),
            'dtype': RUNTIME.resolved().dtype,
            'editing': source_digest(*EDITING)}

    def pair(self, number: int) -> Question:
        r"""The pair of a number."""
        return self.questions.make(
            number, SEEDS[self.seeds], self.size, self.frames)

    def key(self, row: Row) -> str:
        r"""See `Row.key`."""
        return row.key(**self.facts, **(
            self.model_facts if row.needs_model else {}))

    def results_file(self, row: Row) -> Path:
        r"""Where the row's results are kept."""
        return self.work / f'{self.key(row)}.jsonl'

    def strip_file(self, row: Row, number: int, photo: str) -> Path:
        r"""Where frames of one edit are kept."""
        return self.work / 'frames' / (
            f'{self.key(row)}-{number}-{photo}.png')


def strip(video: Tensor) -> Image.Image:
    r"""Evenly spaced frames of [3, T, H, W], from left to right."""
    places = torch.linspace(0, video.size(1) - 1, SHOWN_FRAMES).round().long()
    frames = video[:, places].transpose(1, 2).flatten(2)
    return Image.fromarray(to_bytes(unit_range(frames, (-1, 1)), True))


def read_strip(path: Path) -> Tensor:
    r"""A strip as a clip again, [3, T, H, W] in [-1, 1]."""
    with Image.open(path) as image:
        pixels = torch.from_numpy(np.array(image, dtype=np.float32))
    clip = pixels.unflatten(1, (SHOWN_FRAMES, -1)).permute(3, 1, 0, 2)
    return clip / 127.5 - 1


def read_results(file: Path) -> Results:
    r"""The finished edits of a results file; none if it does not exist.

    What a stopped run has left of a last line is removed from the file.
    """
    if not file.is_file():
        return {}
    text = file.read_text(encoding='utf-8')
    whole = text[:text.rfind('\n') + 1]
    if whole != text:
        with atomic_write(file) as path:
            path.write_text(whole, encoding='utf-8')
    records = map(json.loads, whole.splitlines())
    return {(r['pair'], r['photo']): r['values'] for r in records}


def append_result(file: Path, record: Mapping) -> None:
    r"""Add one finished edit to a results file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open('a', encoding='utf-8') as lines:
        lines.write(json.dumps(record, allow_nan=False) + '\n')


def _fingerprint(path: Path) -> str:
    r"""A hash of a file, or of all files of a folder and their names."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(
        file for file in path.rglob('*') if file.is_file())
    for file in files:
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
