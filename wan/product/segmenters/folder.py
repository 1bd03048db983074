r"""A folder with a network of `transformers`, checked before it is read."""
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
import transformers
from safetensors import SafetensorError

EXTRA = "pip install -e '.[segment]'"
# Files that tell how pictures are normalised, the last one wins.
TOLD = ('processor_config.json', 'preprocessor_config.json',
        'video_preprocessor_config.json')
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Network(NamedTuple):
    r"""A class of `transformers`.

    Args:
        name: of the class.
        model_types: of the `config.json` that it is loaded from.
        has_words: whether a tokenizer belongs to it.
        normal: mean and deviation of the colours, if no file tells.
    """
    name: str
    model_types: tuple[str, ...]
    has_words: bool = False
    normal: tuple[Sequence[float], Sequence[float]] = IMAGENET


@dataclass(frozen=True)
class ModelFolder:
    r"""A folder that holds a network's weights.

    Args:
        path: of the folder.
        network: what is in it.
    """
    path: Path
    network: Network

    @classmethod
    def checked(
        cls, method: str, path: str | Path, network: Network
    ) -> 'ModelFolder':
        r"""A folder that has all that loading needs.

        Args:
            method: for the error.

        Raises:
            ValueError: what is missing, in one sentence.
        """
        path = Path(path)
        start = f'mask_method {method} needs'
        if not _has(network.name):
            raise ValueError(
                f'{start} {network.name}, which transformers '
                f'{transformers.__version__} lacks: {EXTRA}.')
        if not path.is_dir():
            raise ValueError(
                f'{start} mask_model, the folder of its weights; '
                f'{path} is none.')
        found = model_type(path)
        if found not in network.model_types:
            raise ValueError(
                f'{start} a folder whose config.json has the model_type '
                f'{" or ".join(network.model_types)}; that of {path} has '
                f'{found}.')
        if 'timm_wrapper' in json.dumps(_json(path / 'config.json')) \
                and find_spec('timm') is None:
            raise ValueError(f'{start} the package timm: {EXTRA}.')
        if not any(path.glob('*.safetensors')):
            raise ValueError(
                f'{start} weights as .safetensors, of which {path} has none; '
                f'pickled ones are not read.')
        if network.has_words and not (path / 'tokenizer.json').is_file() \
                and not (path / 'tokenizer_config.json').is_file():
            raise ValueError(
                f'{start} the tokenizer of its text, but {path} has no '
                f'tokenizer.json.')
        return cls(path, network)

    def load(self, device: torch.device | str) -> torch.nn.Module:
        r"""The network with its weights, in float32.

        Raises:
            ValueError: weights are missing, or the files cannot be read.
        """
        kind = getattr(transformers, self.network.name)
        try:
            found, told = kind.from_pretrained(
                self.path, local_files_only=True, use_safetensors=True,
                dtype=torch.float32, output_loading_info=True)
        except (OSError, ImportError, RuntimeError, ValueError,
                SafetensorError) as error:
            line = str(error).strip().partition('\n')[0]
            raise ValueError(
                f'mask_model {self.path} cannot be read: {line}') from error
        if told['missing_keys']:
            first = sorted(told['missing_keys'])[0]
            raise ValueError(
                f'mask_model {self.path} lacks weights of '
                f'{self.network.name}, such as {first}.')
        return found.eval().to(device)

    def tokens(
        self, text: str, length: int | None = None
    ) -> dict[str, torch.Tensor]:
        r"""A text as the network takes it, [1, L] each.

        Args:
            length: to pad, or cut, to.
        """
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            self.path, local_files_only=True)
        return dict(tokenizer(
            text, return_tensors='pt', truncation=length is not None,
            padding='max_length' if length else False, max_length=length))

    def pictures(
        self, frames: torch.Tensor, size: tuple[int, int]
    ) -> torch.Tensor:
        r"""Frames [F, 3, H, W] in [-1, 1] to a size (h, w), normalised."""
        frames = F.interpolate(
            frames.float(), size, mode='bilinear', antialias=True)
        mean, deviation = (
            torch.tensor(values).view(3, 1, 1) for values in self.normal)
        return ((frames + 1) / 2 - mean) / deviation

    @property
    def normal(self) -> tuple[Sequence[float], Sequence[float]]:
        r"""Mean and deviation of the colours, in [0, 1]."""
        mean, deviation = (
            self._told(name, default) for name, default in zip(
                ('image_mean', 'image_std'), self.network.normal,
                strict=True))
        return mean, deviation

    def side(self, default: int) -> int:
        r"""Of the square that pictures are brought to."""
        size = self._told('size', {})
        side = size.get('height', default) if isinstance(size, dict) else size
        return side if isinstance(side, int) and 0 < side <= 4096 else default

    def _told(self, name, default):
        for file in TOLD:
            told = _json(self.path / file)
            for part in (told, *(told.get(key) for key in (
                    'image_processor', 'video_processor'))):
                if isinstance(part, dict) and part.get(name):
                    default = part[name]
        return default


def model_type(folder: Path) -> str | None:
    r"""What a folder's `config.json` says it is; None if there is none."""
    return _json(folder / 'config.json').get('model_type')


def _has(name: str) -> bool:
    r"""Whether `transformers` has a class, and what that needs."""
    try:
        return hasattr(transformers, name)
    except ImportError:
        return False


def _json(path: Path) -> dict:
    try:
        told = json.loads(path.read_text('utf-8'))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
