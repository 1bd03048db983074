r"""How the product is found, in the template and in its photos."""
import math
from dataclasses import dataclass
from importlib import import_module

from ..product.finding import Finding
from ..product.hint import Hint
from ..product.photo import PLAIN, PhotoFinder
from ..runtime import Runtime
from ..utils.flags import check_choices, choice, path
from ..utils.video_info import VideoInfo
from .settings import Settings

# The built-in ways, and networks of other kinds: keys of `SEGMENTERS`, which
# is imported where one is asked for.
BUILT_IN = ('auto', 'words', 'velocity')
WORDED = ('sam3', 'grounded-sam2', 'clipseg')
OTHERS = ('sam2', 'edgetam', *WORDED)


@dataclass(frozen=True)
class MaskConfig:
    r"""How the product is found in the template, where no src_mask is given.

    Args:
        mask_method: what tells where the product is; auto is words, where
            they are named, and else velocity; the others need mask_model.
        mask_model: folder of such a network's weights; nothing is fetched.
        src_box: x,y,width,height of the product in one frame, in pixels of
            the template as shown; @FRAME behind it counts the template's
            frames from 0 (default: the first).
        src_point: x,y of a point on the product, with @FRAME as src_box.

    Raises:
        ValueError: a value that is not allowed, or both hints.
    """
    mask_method: str = choice('auto', (*BUILT_IN, *OTHERS))
    mask_model: str | None = path()
    src_box: str | None = None
    src_point: str | None = None

    def __post_init__(self):
        check_choices(self)
        if self.src_box and self.src_point:
            raise ValueError(
                'src_box and src_point both say where the product is: give '
                'one of them.')
        _ = self.hint

    @property
    def hint_name(self) -> str:
        r"""The setting that the hint is from."""
        return 'src_box' if self.src_box else 'src_point'

    @property
    def hint(self) -> Hint | None:
        r"""In pixels and frames of the template."""
        text = self.src_box or self.src_point
        return Hint.parse(self.hint_name, text) if text else None

    @property
    def reads_words(self) -> bool:
        r"""Whether the video model looks for the words."""
        return self.mask_method in ('auto', 'words') or (
            self.mask_method in OTHERS and self.mask_method not in WORDED
            and self.hint is None)


@dataclass(frozen=True)
class CutoutConfig:
    r"""How the product is told from its photo, without target_mask and alpha.

    Args:
        photo_cutout: auto tells it from a plain ground and, where that fails
            and cutout_model is given, by rembg; plain and rembg do one of
            both.
        cutout_model: an .onnx file of rembg's; nothing is fetched.

    Raises:
        ValueError: a value that is not allowed, or a file that is missing.
    """
    photo_cutout: str = choice('auto', ('auto', 'plain', 'rembg'))
    cutout_model: str | None = path()

    def __post_init__(self):
        check_choices(self)

    def finders(self) -> tuple[PhotoFinder, ...]:
        r"""What is tried in turn on a photo without mask and alpha.

        Raises:
            ValueError: rembg is asked for, and it or its model is missing.
        """
        if self.photo_cutout == 'plain' or (
                self.photo_cutout == 'auto' and not self.cutout_model):
            return PLAIN
        if not self.cutout_model:
            raise ValueError(
                'photo_cutout rembg needs cutout_model, an .onnx file.')
        from ..product.cutout import Cutout
        cutout = Cutout.checked(self.cutout_model)
        return (cutout,) if self.photo_cutout == 'rembg' \
            else (*PLAIN, cutout)


def read_finding(settings: Settings, hint: Hint | None) -> Finding:
    r"""How the product is looked for, all that it needs checked.

    Args:
        hint: as it is in what is looked at, see `clip_hint`.

    Raises:
        ValueError: words or a folder that is missing or wrong.
    """
    config, flat = settings[MaskConfig], settings.flat()
    method, words = config.mask_method, flat['source_blend']
    if method == 'words' and not words and not flat['target_blend']:
        raise ValueError(
            'mask_method words needs source_blend or target_blend: the words '
            'of the prompts that name the products.')
    if method in WORDED and not words:
        raise ValueError(
            f'mask_method {method} looks for words and needs source_blend: '
            f'those of source_prompt that name the product.')
    segmenter = None
    if method in OTHERS:
        if not config.mask_model:
            raise ValueError(
                f'mask_method {method} needs mask_model, the folder of its '
                f'weights.')
        # It brings classes of `transformers` that nothing else needs.
        package = import_module('..product.segmenters', __package__)
        segmenter = package.open_segmenter(
            method, config.mask_model, settings[Runtime].torch_device)
    return Finding(config.reads_words, hint, segmenter, words)


def clip_hint(
    settings: Settings, info: VideoInfo, size: tuple[int, int], frames: int,
    fps: float,
) -> Hint | None:
    r"""The hint in the clip that the model makes of a template.

    Args:
        info: of the template.
        size: (width, height) to which it is brought.
        frames, fps: that are edited.

    Raises:
        ValueError: a place that is not there.
    """
    config, fit = settings[MaskConfig], settings.flat()['fit']
    hint = config.hint
    if hint is None:
        return None
    hint.check(config.hint_name, (info.width, info.height),
               max(1, math.ceil((frames - .5) * info.fps / fps)))
    seen = hint.scaled((info.width, info.height), size, fit)
    if seen is None:
        raise ValueError(
            f'{config.hint_name} lies in what fit crop cuts off: fit pad '
            f'keeps all of the template.')
    return seen.retimed(info.fps, fps, frames)
