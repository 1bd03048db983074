r"""The settings of an edit, and which of them switch others off."""
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ..configs import SIZE_CONFIGS
from ..edit_config import PRESETS, TURNED, EditConfig
from ..flowalign import BRANCHES, EDIT_METHODS, EditMethod
from ..refdrop.config import RefConfig
from ..sparse import DENSE, SparseConfig
from ..step_cache import StepCacheConfig
from ..utils.flags import (
    check_choices,
    choice,
    names,
    path,
    switch,
    unbounded,
)
from ..windows import WindowConfig
from .edit_masks import BUILT_IN, OTHERS, WORDED, CutoutConfig, MaskConfig
from .edit_output import IDLE as OUTPUT_IDLE
from .edit_output import OutputSettings
from .extension import ExtensionSettings
from .settings import Idle, Settings, check_frame_num
from .task import Section
from .template_file import read_template_folder


@dataclass(frozen=True)
class EditInputs:
    r"""Template, product and prompts.

    Args:
        src_video: the template.
        target_image: photos of the new product; given several times, or
            one text in which commas separate them.
        target_mask: masks of the photos, white is product (default: alpha
            channel or plain ground).
        source_prompt: describes the template.
        target_prompt: the same with the new product.
        n_prompt: what not to show, for all methods but flowalign (default: the
            model's own).
        src_mask: video or image, white where the template's product is
            (default: found by the model and by colours).
        source_blend: words of source_prompt that name the product, to find
            the mask by.
        target_blend: words of target_prompt that name the product.
        first_frame: of a checkpoint of type i2v or flf2v, an image of the
            edit's first frame (default: the template's with the photo pasted
            into src_mask).
        last_frame: the same of flf2v's last frame.
        size: width*height in pixels (default: the nearest to the template).
        frame_num: frames of the template to edit, 4n + 1 (default: all, at
            most 81 or what the model makes; with window_frames at most
            1997).
        fit: how the template is brought to the size.
        template: folder of a template that prepare has made; what it says
            holds where nothing else is given.

    Raises:
        ValueError: a value that is not allowed.
    """
    src_video: str | None = path()
    target_image: tuple[str, ...] = path(several=True)
    target_mask: tuple[str, ...] = path(several=True)
    source_prompt: str = ''
    target_prompt: str = ''
    n_prompt: str | None = None
    src_mask: str | None = path()
    source_blend: str = ''
    target_blend: str = ''
    first_frame: str | None = path()
    last_frame: str | None = path()
    size: str | None = choice(None, SIZE_CONFIGS)
    frame_num: int | None = unbounded(None)
    fit: str = choice('crop', ('crop', 'pad'))
    template: str | None = path()

    def __post_init__(self):
        check_choices(self)
        check_frame_num(self.frame_num)


@dataclass(frozen=True)
class EditOptions:
    r"""What an edit uses and writes.

    Args:
        use_mask: edit, and read the photo, only where the product is.
        use_reference: read the photo; false edits by text alone.
        ref_preset: settings that go together; given ones override it.
        ref_bank: file that keeps the photo as the model sees it, for further
            videos of the same product.
        context_scale: of a checkpoint of type vace, the weight of its hints.
        reverse: an edited video from which to go back to the template.
        measure: measure how well the background was kept.
        measure_ceiling: measure too how well any edit could have kept it, for
            which the template is decoded: as much time again as the result
            takes.
        save_comparison: write template | photo | result as video and contact
            sheet.
        check_photo: edit a second time, with the photo's product in other
            colours; the difference says whether anything of the photo
            arrives.

    Raises:
        ValueError: a preset that is not known.
    """
    use_mask: bool = True
    use_reference: bool = True
    ref_preset: str | None = choice(None, PRESETS)
    ref_bank: str | None = path()
    context_scale: float = 1.0
    reverse: str | None = path()
    measure: bool = True
    measure_ceiling: bool = switch()
    save_comparison: bool = True
    check_photo: bool = False

    def __post_init__(self):
        check_choices(self)


EDIT_SETTINGS = (
    EditInputs, OutputSettings, EditOptions, MaskConfig, CutoutConfig,
    EditConfig, RefConfig, WindowConfig, SparseConfig, StepCacheConfig,
    ExtensionSettings)

# The sections and the names of the original experiment files, and ours.
EXPERIMENT = {
    'video': Section(
        tuple(names(EditInputs, OutputSettings, MaskConfig, CutoutConfig,
                    WindowConfig, ExtensionSettings)),
        {'video_path': 'src_video'}),
    'flowalign': Section(
        (*names(EditOptions, EditConfig, RefConfig, SparseConfig,
                StepCacheConfig), 'base_seed'), {
            'target_guidance_scale': 'sample_guide_scale',
            'zeta_scale': 'fg_zeta_scale',
            'flag_attnmask': 'use_mask',
            'use_reference_attention': 'use_reference',
            'num_inference_steps': 'sample_steps',
            'seed': 'base_seed',
        }),
}


def edit_defaults(
    given: Mapping[str, object], config: Mapping[str, object]
) -> Mapping[str, object]:
    r"""The settings of a given preset, and those of a template, which go
    before them; an unknown preset is refused later.

    Raises:
        ValueError: the template cannot be read.
    """
    told = {}
    if given.get('template'):
        told = read_template_folder(
            str(given['template']), EXPERIMENT, EDIT_SETTINGS)
    preset = given.get('ref_preset', told.get('ref_preset'))
    return {'prompt_extend_target_lang': 'en',
            **PRESETS.get(str(preset), {}), **told}


class Facts(NamedTuple):
    r"""What decides which settings of an edit have an effect.

    Args:
        collage: whether the edit is pulled toward one.
        sparse: where it is evaluated.
        shown: whether the model is shown a collage.
    """
    inputs: EditInputs
    options: EditOptions
    edit: EditConfig
    ref: RefConfig
    output: OutputSettings
    collage: bool
    masks: MaskConfig
    cutout: CutoutConfig
    sparse: SparseConfig = DENSE
    shown: bool = False

    @property
    def pasted(self) -> bool:
        r"""Whether a collage is made."""
        return self.collage or self.shown

    @property
    def method(self) -> EditMethod:
        return EDIT_METHODS[self.edit.edit_method]


NO_COLLAGE = ('no photo is pasted: that needs a photo, use_mask, and refine, '
              'or flowalign with a collage_zeta_scale above 0')
ZETAS = ('fg_zeta_scale', 'bg_zeta_scale', 'collage_zeta_scale')
REF = tuple(names(RefConfig))
MASKS = tuple(names(MaskConfig))

IDLE = (
    Idle((*REF, 'ref_bank', 'target_image', 'target_mask', 'check_photo',
          *names(CutoutConfig)),
         lambda f: not f.options.use_reference, 'use_reference is false'),
    Idle((*REF[1:], 'ref_bank'), lambda f: not any(f.ref.ref_c),
         'every ref_c is 0'),
    Idle(('ref_guide_scale',), lambda f: f.ref.own_guidance is None,
         'only ref_branches split has a guidance of its own'),
    Idle(('ref_noised',), lambda f: not f.ref.matched and
         not any(f.ref.sigmas), 'ref_t 0 has no noise'),
    Idle(('src_mask', 'source_blend', 'target_blend', *MASKS, 'mask_grow',
          'fg_zeta_scale', 'composite', 'ref_query_mask'),
         lambda f: not f.options.use_mask, 'use_mask is false'),
    Idle(('source_blend', 'target_blend', *MASKS),
         lambda f: f.inputs.src_mask, 'src_mask says where the product is'),
    Idle(('mask_model',), lambda f: f.masks.mask_method in BUILT_IN,
         'only ' + ', '.join(OTHERS) + ' of mask_method have a model of their '
         'own'),
    Idle(('source_blend',), lambda f: not f.masks.reads_words
         and f.masks.mask_method not in WORDED,
         'this mask_method does not look for words'),
    Idle(('target_blend',), lambda f: not f.masks.reads_words,
         'this mask_method does not look for words of target_prompt'),
    Idle(('cutout_model',), lambda f: f.cutout.photo_cutout == 'plain',
         'photo_cutout plain runs no model'),
    Idle(('measure_ceiling',), lambda f: not f.options.measure,
         'measure is false'),
    Idle(('measure_ceiling',), lambda f: f.output.native,
         'output native measures what was written'),
    Idle(ZETAS, lambda f: 'zeta' not in f.method.options,
         'only flowalign pulls toward the template'),
    Idle(('fg_zeta_scale',), lambda f: f.collage,
         'inside the mask the collage pulls (collage_zeta_scale), not the '
         'template'),
    Idle(('view_angles', 'view_frame'), lambda f: f.edit.collage == 'off',
         'collage is off'),
    Idle(('collage', 'view_angles', 'view_frame'),
         lambda f: not f.pasted and f.edit.collage != 'off', NO_COLLAGE),
    Idle(('collage_detail',), lambda f: not f.collage, NO_COLLAGE),
    Idle(('collage_detail',), lambda f: f.options.reverse,
         'reverse goes back to the template'),
    Idle(('view_frame',), lambda f: f.edit.collage not in TURNED,
         'only collage ' + ' and '.join(TURNED) + ' turn the photo'),
    Idle(('src_guide_scale',),
         lambda f: 'src_guide_scale' not in f.method.options,
         'only flowedit guides the source'),
    Idle(('sparse_margin',), lambda f: f.sparse.sparse == 'off',
         'all tokens are evaluated (sparse off)'),
    Idle(('batch_branches',), lambda f: f.sparse.sparse == 'share',
         'sparse share evaluates all branches at once'),
    Idle(('n_prompt',), lambda f: not any(
        BRANCHES[name].prompt == 'null' for name in f.method.branches),
         "flowalign's negative is source_prompt"),
    *OUTPUT_IDLE,
)


# Settings that only checkpoints of these types take.
SHOWN = {
    'first_frame': ('i2v', 'flf2v'),
    'last_frame': ('flf2v',),
    'context_scale': ('vace',),
    # The others are told of the whole clip at once.
    'window_frames': ('t2v',),
    'window_overlap': ('t2v',),
}


def check_shown(settings: Settings, model_type: str, photos: bool) -> None:
    r"""Check what the checkpoint's type is to be shown.

    Args:
        photos: whether there are any.

    Raises:
        ValueError: a setting of another type, frames that are missing, or a
            reference that cannot be read there.
    """
    inputs = settings[EditInputs]
    for name, types in SHOWN.items():
        if name in settings.given and model_type not in types:
            raise ValueError(
                f'{name} is a setting of checkpoints of type '
                f'{" and ".join(types)}; this one is of type {model_type}.')
    pasted = shows_collage(settings, model_type, photos)
    missing = [
        name for name, types in SHOWN.items() if name.endswith('_frame')
        and model_type in types and not getattr(inputs, name)]
    if missing and not pasted:
        raise ValueError(
            f'{" and ".join(missing)} {"is" if len(missing) == 1 else "are"} '
            f'missing: a checkpoint of type {model_type} is shown how the '
            f'edit begins; or give target_image and src_mask, and the photo '
            f'is pasted there (not with collage off).')
    if model_type == 'vace' and photos \
            and settings[RefConfig].ref_branches == 'all':
        raise ValueError(
            "ref_branches all reads the photo in the source's branch too, "
            'which a checkpoint of type vace does not show it to.')


def shows_collage(settings: Settings, model_type: str, photos: bool) -> bool:
    r"""Whether the model is shown frames into which a photo is pasted."""
    inputs = settings[EditInputs]
    return photos and settings[EditOptions].use_mask \
        and inputs.src_mask is not None \
        and settings[EditConfig].collage != 'off' \
        and any(model_type in types and not getattr(inputs, name)
                for name, types in SHOWN.items() if name.endswith('_frame'))


def preset_notes(facts: Facts) -> list[str]:
    r"""A sentence where a preset is not what it was measured as."""
    preset = facts.options.ref_preset
    if preset is None:
        return []
    if not facts.options.use_reference:
        return [f'ref_preset {preset} is made for a photo, but use_reference '
                f'is false.']
    own = PRESETS[preset]
    if not facts.collage and (
            own.get('collage_zeta_scale') or own.get('collage_detail')):
        return [f'ref_preset {preset} is made for the collage, which is off '
                f'here: it needs a photo and use_mask.']
    return []
