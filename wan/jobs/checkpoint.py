r"""A checkpoint folder as a job sees it: everything but the weights."""
import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from easydict import EasyDict

from ..configs import SIZE_CONFIGS, SUPPORTED_SIZES, WAN_CONFIGS
from ..modules.kinds import model_class
from ..modules.model import WanModel
from ..modules.tokenizers import HuggingfaceTokenizer
from ..utils.checkpoint import check_checkpoint, find_weights, weight_files

# The small model that comes with the repository, and its config.
EMBEDDED = Path(__file__).parents[2] / 'checkpoints' / 'tiny'
EMBEDDED_CONFIG = 't2v-tiny'
# By these a folder is recognised that does not name its config.
SHAPE = ('dim', 'ffn_dim', 'num_heads', 'num_layers')


def runs_embedded(task: str) -> bool:
    r"""Whether a task can run with the embedded model."""
    return task == EMBEDDED_CONFIG or task not in WAN_CONFIGS


def embedded_checkpoint() -> Path:
    r"""The folder of the embedded model.

    Raises:
        ValueError: it is not there.
    """
    if not EMBEDDED.is_dir():
        raise ValueError(
            f'ckpt_dir is missing, and the embedded model is not at '
            f'{EMBEDDED}: it comes with a clone of the repository, not with '
            f'an installed package.')
    return EMBEDDED


@dataclass(frozen=True)
class Checkpoint:
    r"""What is known of a checkpoint before its weights are read.

    Args:
        folder: where it is.
        config: an entry of `WAN_CONFIGS`.
        sizes: keys of `SIZE_CONFIGS` that the model supports.
        model: the transformer, without weights.
    """
    folder: Path
    config: EasyDict
    sizes: tuple[str, ...]
    model: WanModel

    @classmethod
    def read(
        cls, folder: str | Path, task: str, model_types: tuple[str, ...]
    ) -> 'Checkpoint':
        r"""A task's checkpoint.

        A task of the name of a config has that config; for any other the
        folder tells which one is its own.

        Args:
            model_types: of config.json that the task runs on.

        Raises:
            ValueError: parts are missing, or the model is of another type.
        """
        folder = Path(folder)
        named = task in WAN_CONFIGS
        check_checkpoint(folder, _config('t2v'))  # what all types have
        model = model_class(folder).empty(folder)
        if model.model_type not in model_types:
            raise ValueError(
                f'Task {task} needs a checkpoint of type '
                f'{" or ".join(model_types)}, {folder} is of type '
                f'{model.model_type}.')
        config = WAN_CONFIGS[task] if named else _config(model.model_type)
        check_checkpoint(folder, config)
        name = task if named else _recognised(folder, model)
        if name is None:
            return cls(folder, config, tuple(SIZE_CONFIGS), model)
        return cls(folder, WAN_CONFIGS[name], SUPPORTED_SIZES[name], model)

    def size(self, name: str) -> tuple[int, int]:
        r"""(width, height) of a key of `SIZE_CONFIGS`.

        Raises:
            ValueError: the model does not support it.
        """
        if name not in self.sizes:
            raise ValueError(
                f'size {name} is not supported by this model; allowed: '
                f'{", ".join(self.sizes)}.')
        return SIZE_CONFIGS[name]

    def latent_shape(
        self, size: tuple[int, int], frame_num: int, lead: int = 0
    ) -> tuple[int, int, int, int]:
        r"""[C, T, h, w] of a video of `size` (width, height).

        Args:
            lead: latent frames before it.
        """
        time, rows, columns = self.config.vae_stride
        return (self.model.out_dim, lead + (frame_num - 1) // time + 1,
                size[1] // rows, size[0] // columns)

    def tokens(
        self, size: tuple[int, int], frame_num: int, lead: int = 0
    ) -> int:
        r"""How many the transformer makes of it; see `latent_shape`."""
        shape = self.latent_shape(size, frame_num, lead)
        return math.prod(shape[1:]) // math.prod(self.model.patch_size)

    @property
    def text_encoder_file(self) -> Path:
        return find_weights(self.folder / self.config.t5_checkpoint)

    @property
    def vae_file(self) -> Path:
        return find_weights(self.folder / self.config.vae_checkpoint)

    @property
    def clip_file(self) -> Path | None:
        r"""None where the model sees no images."""
        name = self.config.get('clip_checkpoint')
        return None if name is None else find_weights(self.folder / name)

    @property
    def tokenizer(self) -> HuggingfaceTokenizer:
        r"""As the pipeline has it."""
        return _tokenizer(
            self.folder / self.config.t5_tokenizer, self.model.text_len)

    @property
    def files(self) -> list[Path]:
        r"""All files that are read of it."""
        networks = [path for path in (
            self.text_encoder_file, self.vae_file, self.clip_file) if path]
        tokenizer = self.folder / self.config.t5_tokenizer
        return [
            path for path in (
                self.folder / 'config.json', *weight_files(self.folder),
                *sorted(self.folder.glob('*.index.json')),
                *networks, *(path.with_suffix('.json') for path in networks),
                *sorted(tokenizer.iterdir()))
            if path.is_file()]


def _type(name: str) -> str:
    r"""'t2v' of 't2v-14B'."""
    return name.partition('-')[0]


def _config(model_type: str) -> EasyDict:
    r"""One of a model type; all of one have the same files."""
    return next(config for name, config in WAN_CONFIGS.items()
                if _type(name) == model_type)


def _recognised(folder: Path, model: WanModel) -> str | None:
    r"""The key of `WAN_CONFIGS` that a folder names, or whose shape it has."""
    named = json.loads((folder / 'config.json').read_text()).get('wan_config')
    if named is not None:
        if _type(str(named)) != model.model_type or named not in WAN_CONFIGS:
            raise ValueError(
                f'{folder / "config.json"}: wan_config is {named!r}, which is '
                f'not a config of type {model.model_type}; allowed: '
                f'{", ".join(WAN_CONFIGS)}.')
        return named
    return next((
        name for name, config in WAN_CONFIGS.items()
        if _type(name) == model.model_type and all(
            config[side] == getattr(model, side) for side in SHAPE)), None)


@lru_cache(1)
def _tokenizer(folder: Path, seq_len: int) -> HuggingfaceTokenizer:
    return HuggingfaceTokenizer(folder, seq_len, clean='whitespace')
