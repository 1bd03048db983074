r"""Procedural product videos: clips, masks, photos and captions by seed."""
from .captions import (
    VOCABULARY,
    caption,
    caption_without_appearance,
    full_caption,
)
from .render import (
    render_background,
    render_clip,
    render_photo,
    visible_mask,
)
from .sampling import (
    TEST_SEEDS,
    TRAIN_SEEDS,
    TUNE_SEEDS,
    sample_clip,
    sample_pose,
    sample_product,
)
from .scene import (
    Article,
    Clip,
    Light,
    Motion,
    Pose,
    Prop,
    Scene,
    swap,
)

__all__ = [
    'TEST_SEEDS',
    'TRAIN_SEEDS',
    'TUNE_SEEDS',
    'VOCABULARY',
    'Clip',
    'Light',
    'Motion',
    'Pose',
    'Article',
    'Prop',
    'Scene',
    'caption',
    'caption_without_appearance',
    'full_caption',
    'visible_mask',
    'render_background',
    'render_clip',
    'render_photo',
    'sample_clip',
    'sample_pose',
    'sample_product',
    'swap',
]
