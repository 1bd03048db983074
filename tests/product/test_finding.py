r"""The embedded model finds the product in templates with a true mask."""
from dataclasses import replace

import pytest
import torch

from wan.jobs.checkpoint import EMBEDDED
from wan.product.masks import mask_to_latent
from wan.pvtt import WanPVTT
from wan.synth.bench.edit import PairEditor
from wan.synth.bench.pairs import make_pair
from wan.synth.bench.store import CONFIG, RUNTIME


@pytest.fixture(scope='module')
def pipe():
    return WanPVTT(CONFIG, EMBEDDED, runtime=RUNTIME)


@pytest.mark.parametrize('number, caption, named', [
    (0, 'full', True), (1, 'hidden', False), (2, 'full', False),
    (3, 'hidden', True)])
def test_the_product_is_found(pipe, number, caption, named):
    editor = PairEditor(lambda: pipe, make_pair(number))
    scene = editor.scenes[caption]
    with torch.no_grad():
        mask = pipe.find(
            scene if named else replace(scene, words={}),
            pipe.conditions(scene), editor.progress)
    found, true = (mask_to_latent(m, scene.latent.shape)
                   for m in (mask, editor.answer.old))
    assert (found * true).sum() > .85 * torch.maximum(found, true).sum()
