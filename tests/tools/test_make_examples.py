r"""The example files: as drawn, and described in the words of the generator."""
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tools import make_examples
from wan.experiments.products import read_products, target_prompt
from wan.synth import full_caption, swap, visible_mask
from wan.tasks import TASKS
from wan.utils.video import probe, read_video

BLEND = 'striped red and white heart'
ROOT = Path(make_examples.__file__).parents[1]
PHOTOS = ('product.png', 'product_2.png', 'product_3.png')
FILES = (*PHOTOS, 'template.mp4', 'template_mask.mp4', 'wide.mp4')


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp('drawn') / 'new'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', ['make_examples.py', str(folder)])
        make_examples.main()
    assert sorted(path.name for path in folder.iterdir()) == list(FILES)
    return folder


def test_the_committed_files_are_the_drawn_ones(drawn):
    for name in PHOTOS:
        photos = [np.asarray(Image.open(folder / name), int)
                  for folder in (drawn, ROOT / 'examples')]
        assert photos[0].shape == (256, 256, 4)
        # float32 arithmetic differs a little between machines
        assert abs(photos[0] - photos[1]).max() <= 2
    for name in FILES[len(PHOTOS):]:
        info = probe(ROOT / 'examples' / name)
        wide = name == 'wide.mp4'
        assert (info.width, info.height, info.fps) == (
            (512, 288, 24) if wide else (128, 128, 16))
        assert info.has_audio == wide
        videos = [read_video(folder / name)
                  for folder in (drawn, ROOT / 'examples')]
        assert videos[0].shape == (
            (3, 49, 288, 512) if wide else (3, 17, 128, 128))
        assert (videos[0] - videos[1]).abs().mean() < 0.01


def test_the_mask_is_of_the_template(drawn):
    mask = (read_video(drawn / 'template_mask.mp4').mean(0) + 1) / 2
    assert (mask - visible_mask(make_examples.TEMPLATE)).abs().mean() < 0.01
    assert 0.1 < mask.mean() < 0.5


def test_the_prompts_of_the_demo_are_the_captions():
    template = make_examples.TEMPLATE
    edited = swap(template, make_examples.PRODUCT)
    demo = yaml.safe_load(
        (ROOT / 'configs/pvtt/demo.yaml').read_text('utf-8'))['video']
    for side, clip in (('source', template), ('target', edited)):
        assert demo[f'{side}_prompt'] == full_caption(clip)


def test_the_words_of_the_catalogue_make_the_captions():
    products = read_products(
        ROOT / 'configs/pvtt/products.csv', TASKS['pvtt'])
    demo = yaml.safe_load(
        (ROOT / 'configs/pvtt/demo.yaml').read_text('utf-8'))['video']
    assert len(products) == len(PHOTOS)
    for product, article, photo in zip(
            products, (make_examples.PRODUCT, *make_examples.MORE), PHOTOS,
            strict=True):
        assert full_caption(swap(make_examples.TEMPLATE, article)) == \
            target_prompt(demo['source_prompt'], BLEND, product.words)
        assert Path(product.settings['target_image'][0]).samefile(
            ROOT / 'examples' / photo)
