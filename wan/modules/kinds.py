r"""Which class a folder's transformer is of."""
from pathlib import Path

from ..utils.checkpoint import described
from .model import WanModel
from .vace_model import VaceWanModel


def model_class(folder: str | Path) -> type[WanModel]:
    r"""The class whose `empty` and `from_pretrained` read a model's folder.

    Raises:
        CheckpointError: it has no config.json, or that is no JSON object.
    """
    return VaceWanModel if described(folder).get('model_type') == 'vace' \
        else WanModel
