r"""The product cut out of its photo by rembg, with a model file of the user's.

rembg is MIT; its models have licences of their own. It would fetch a model
that it lacks: here the class that runs one is told where the file is.
"""
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

EXTRA = "pip install -e '.[cutout]'"
# Files whose names begin so are read by rembg's class of that name, which
# knows the model's size and colours; all others as U^2-Net (2005.09007).
FAMILIES = ('u2net', 'silueta', 'isnet', 'birefnet', 'bria')
USUAL = 'u2net_custom'


@dataclass(frozen=True)
class Cutout:
    r"""What rembg makes of a photo.

    Args:
        model: an .onnx file.
    """
    model: Path

    @classmethod
    def checked(cls, model: str | Path) -> 'Cutout':
        r"""With a file that exists, and rembg installed.

        Raises:
            ValueError: one is missing, in one sentence.
        """
        model = Path(model)
        if model.suffix != '.onnx' or not model.is_file():
            raise ValueError(
                f'cutout_model {model} is not an existing .onnx file.')
        try:
            import onnxruntime  # noqa: F401, rembg exits without it
            import rembg.sessions  # noqa: F401
        except ImportError as error:
            raise ValueError(
                f'cutout_model needs rembg and onnxruntime: {EXTRA}.'
            ) from error
        return cls(model)

    def __call__(self, photo: Image.Image) -> torch.Tensor | None:
        r"""[H, W] in [0, 1]; None when nothing is told from the ground.

        Args:
            photo: mode RGB.

        Raises:
            ValueError: the file is not a model of that kind.
        """
        try:
            with np.errstate(all='ignore'):  # of a photo of one colour
                mask = self._session.predict(photo)[0]
        except Exception as error:  # onnxruntime's have no common kind
            line = str(error).strip().partition('\n')[0]
            raise ValueError(
                f'cutout_model {self.model} cannot be run: {line}') from error
        found = torch.from_numpy(
            np.array(mask.convert('L'), dtype=np.float32)) / 255
        return found if found.max() >= .5 and found.min() < .5 else None

    @cached_property
    def _session(self):
        import onnxruntime
        from rembg.sessions import sessions_class
        kinds = {kind.name(): kind for kind in sessions_class}
        name = self.model.stem.lower()
        kind = kinds.get(name) if name.startswith(FAMILIES) else None
        kind, file = kind or kinds[USUAL], str(self.model.resolve())

        class Local(kind):
            r"""The same with the user's file."""

            @classmethod
            def download_models(cls, *args, **kwargs):
                return file

        options = onnxruntime.SessionOptions()
        return Local(kind.name(), options, model_path=file)
