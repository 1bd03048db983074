r"""Draw the example of product video template transfer, as committed.

    python tools/make_examples.py [examples]

All is procedural (wan.synth): free of rights, and of the kind that the
embedded model has learned. The prompts that this prints are those of
configs/pvtt/demo.yaml; all photos are those of configs/pvtt/products.csv.
"""
import argparse
import logging
from dataclasses import replace
from pathlib import Path

from wan.synth import (
    Article,
    Clip,
    Light,
    Motion,
    Pose,
    Prop,
    Scene,
    full_caption,
    render_clip,
    render_photo,
    swap,
    visible_mask,
)
from wan.synth.native import write_with_tone
from wan.utils.utils import cache_video, save_image

FPS, PHOTO_SIDE = 16, 256
TEMPLATE = Clip(
    Article('heart', 'striped', ('red', 'white'), period=0.5, angle=0.6),
    Scene('wooden', 'brown', angle=0.1, light=Light(-2.2, 0.9),
          props=(Prop('ball', 'mint', -0.75, -0.72, 0.2),)),
    Motion(Pose(0.0, 0.0, -0.15, 0.6), dx=0.4, turn=-1.0))
# The same scene, larger, wider and longer than the model's clips, with sound.
WIDE = replace(
    TEMPLATE, size=288, width=512, frames=49,
    scene=replace(TEMPLATE.scene, props=(
        Prop('ball', 'mint', -1.35, -0.62, 0.24),)),
    motion=Motion(Pose(0.1, 0.0, -0.15, 0.42), dx=1.5, turn=-1.0))
WIDE_FPS, PITCH = 24, 330
PRODUCT = Article(
    'heart', 'dotted', ('turquoise', 'yellow'), period=0.65, angle=0.3)
MORE = (
    Article('heart', 'checked', ('orange', 'blue'), period=0.5, angle=0.2),
    Article('star', 'ringed', ('purple', 'yellow'), period=0.6))
PHOTO_POSE = Pose(0.0, 0.0, 0.35, 0.75)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', nargs='?', default='examples', type=Path)
    folder = parser.parse_args().folder
    cache_video(render_clip(TEMPLATE)[None], folder / 'template.mp4', fps=FPS,
                nrow=1)
    cache_video(
        visible_mask(TEMPLATE)[None, None], folder / 'template_mask.mp4',
        fps=FPS, nrow=1, value_range=(0, 1))
    write_with_tone(folder / 'wide.mp4', WIDE, WIDE_FPS, PITCH)
    for number, product in enumerate((PRODUCT, *MORE), 1):
        name = 'product.png' if number == 1 else f'product_{number}.png'
        save_image(render_photo(product, PHOTO_POSE, PHOTO_SIDE),
                   folder / name)
    for clip in (WIDE, swap(WIDE, PRODUCT)):
        logging.info(full_caption(clip))


if __name__ == '__main__':
    main()
