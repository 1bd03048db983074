r"""The task table: a row is all that the program knows of a task."""
from .edit_inputs import SIGHTS
from .first_last_frame2video import WanFLF2V
from .image2video import WanI2V
from .jobs.edit import prepare_edit, run_edit, save_edit
from .jobs.edit_files import companions
from .jobs.edit_prompts import extended_edit
from .jobs.edit_settings import EDIT_SETTINGS, EXPERIMENT, edit_defaults
from .jobs.edit_template import with_others
from .jobs.edit_together import alike, fitting, run_together
from .jobs.extension import ExtensionSettings, extended
from .jobs.image import (
    EndSettings,
    ImageSettings,
    image_defaults,
    prepare_between,
    prepare_from_image,
    run_images,
)
from .jobs.task import Task, Together
from .jobs.text import (
    TextSettings,
    prepare_image,
    prepare_long_video,
    run_text,
    save_image,
    save_video,
    text_defaults,
)
from .jobs.vace import (
    VaceSettings,
    prepare_vace,
    run_vace,
    save_vace,
)
from .pvtt import WanPVTT
from .step_cache import StepCacheConfig
from .text2video import WanT2V
from .utils.image import IMAGE_SUFFIXES
from .utils.video_writer import VIDEO_SUFFIXES
from .vace import WanVace
from .windows import WindowConfig

SAMPLING = (TextSettings, StepCacheConfig)

_TEXT_TO_VIDEO = Task(
    pipeline=WanT2V, model_types=('t2v',),
    settings=(*SAMPLING, WindowConfig, ExtensionSettings),
    prepare=prepare_long_video, run=run_text, save=save_video,
    suffixes=VIDEO_SUFFIXES, before=extended,
    defaults=text_defaults(
        prompt='Two anthropomorphic cats in comfy boxing gear and bright '
        'gloves fight intensely on a spotlighted stage.', frame_num=81))

_TEXT_TO_IMAGE = Task(
    pipeline=WanT2V, model_types=('t2v',),
    settings=(*SAMPLING, ExtensionSettings), prepare=prepare_image,
    run=run_text, save=save_image, suffixes=IMAGE_SUFFIXES, before=extended,
    defaults=text_defaults(prompt='一个朴素端庄的美人', frame_num=1))

_IMAGE_TO_VIDEO = Task(
    pipeline=WanI2V, model_types=('i2v',),
    settings=(ImageSettings, *SAMPLING, ExtensionSettings),
    prepare=prepare_from_image, run=run_images, save=save_video,
    suffixes=VIDEO_SUFFIXES, before=extended, defaults=image_defaults)

_FRAMES_TO_VIDEO = Task(
    pipeline=WanFLF2V, model_types=('flf2v',),
    settings=(EndSettings, *SAMPLING, ExtensionSettings),
    prepare=prepare_between, run=run_images, save=save_video,
    suffixes=VIDEO_SUFFIXES, before=extended,
    defaults=text_defaults(frame_num=81, sample_shift=16.0))

_CONTROLLED_VIDEO = Task(
    pipeline=WanVace, model_types=('vace',),
    settings=(*SAMPLING, VaceSettings, ExtensionSettings),
    prepare=prepare_vace, run=run_vace, save=save_vace, before=extended,
    suffixes=VIDEO_SUFFIXES,
    defaults=text_defaults(frame_num=81, sample_shift=16.0))

_EDIT = with_others(Task(
    pipeline=WanPVTT, model_types=tuple(SIGHTS), settings=EDIT_SETTINGS,
    prepare=prepare_edit, run=run_edit, save=save_edit, suffixes=VIDEO_SUFFIXES,
    companions=companions, before=extended_edit, defaults=edit_defaults,
    experiment=EXPERIMENT, together=Together(alike, fitting, run_together)))

EDIT_TASK = 'pvtt'  # has a page of its own
# The names are those of --task; one that is a key of `WAN_CONFIGS` runs with
# that config, any other with what its checkpoint is recognised as.
TASKS = {
    't2v-14B': _TEXT_TO_VIDEO,
    't2v-1.3B': _TEXT_TO_VIDEO,
    'i2v-14B': _IMAGE_TO_VIDEO,
    't2i-14B': _TEXT_TO_IMAGE,
    'flf2v-14B': _FRAMES_TO_VIDEO,
    'vace-1.3B': _CONTROLLED_VIDEO,
    'vace-14B': _CONTROLLED_VIDEO,
    't2v-tiny': _TEXT_TO_VIDEO,
    EDIT_TASK: _EDIT,
}
