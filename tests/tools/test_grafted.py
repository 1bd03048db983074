r"""The method on the stand-in's networks, and what the graft leaves alone."""
import inspect
import json
import os
import subprocess
import sys
from argparse import Namespace
from types import MethodType

import pytest
import torch

from tests.edits import SOURCE, TARGET
from tests.tools.standin import package, sdpa
from tools import grafted
from wan.edit_config import PRESETS, EditConfig
from wan.modules.model import WanModel
from wan.pipeline import Parts
from wan.product.photo import Product
from wan.refdrop.config import RefConfig
from wan.runtime import Runtime
from wan.utils.flags import names
from wan.utils.image import open_image
from wan.utils.mask_file import read_mask
from wan.utils.video import read_video

# Flags of an edit, and the same as settings.
EDITS = {
    'masked': (
        ('--src_mask', 'box.png', '--target_image', 'cut.png', '--ref_c',
         '0.5', '--ref_t', '0.6', '--composite'),
        {'ref_c': (0.5,), 'ref_t': '0.6', 'composite': True}),
    'found': (
        ('--target_image', 'cut.png', '--ref_t', 'match', '--ref_rope',
         'spatial', '--batch_branches', '--ref_preset', 'gentle'),
        {**PRESETS['gentle'], 'ref_t': 'match', 'ref_rope': 'spatial',
         'batch_branches': True}),
    'text': (
        ('--edit_method', 'flowedit', '--use_mask', 'false', '--n_prompt',
         'grey', '--sample_guide_scale', '4'),
        {'edit_method': 'flowedit', 'sample_guide_scale': 4}),
}
RUN = f"""
import json, sys
import torch
import torch.nn.functional as F
import wan.modules.model
{inspect.getsource(sdpa)}
wan.modules.model.flash_attention = sdpa
import generate
for flags in json.loads(sys.argv[1]):
    sys.argv[1:] = flags
    generate.generate(generate._parse_args())
"""


@pytest.fixture(scope='module')
def edited(on, checkpoint, media, tmp_path_factory):
    r"""Name -> video [3, F, H, W] of `EDITS`, by the checkout's command."""
    out = tmp_path_factory.mktemp('edited')
    commands = [[
        '--task', 'pvtt', '--ckpt_dir', str(checkpoint), '--size', '64*64',
        '--frame_num', '5', '--sample_steps', '4', '--base_seed', '1',
        '--src_video', str(media / 'clip.mp4'), '--source_prompt', SOURCE,
        '--target_prompt', TARGET, '--save_file', str(out / name),
        *(str(media / f) if f.endswith('.png') else f for f in flags),
    ] for name, (flags, _) in EDITS.items()]
    run = subprocess.run(
        [sys.executable, '-c', RUN, json.dumps(commands)],
        cwd=on, env={**os.environ, 'PYTHONPATH': str(on)},
        capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return {name: torch.load(out / name)[0] for name in EDITS}


@pytest.fixture(scope='module')
def ours(plain, checkpoint, media):
    r"""(name, changed settings) -> the same by our own model.

    Text encoder and VAE are the checkout's.
    """
    toys = package(plain / 'wan/modules', 'toys')
    pipe = grafted.WanPVTT.of(
        Parts(WanModel.from_pretrained(checkpoint), toys.T5EncoderModel(32),
              grafted.GraftedVAE(toys.WanVAE(device='cpu'))),
        package(plain / 'wan/configs', 'toy_configs').t2v_14B,
        Runtime(device='cpu', dtype='float32'))
    clip = read_video(media / 'clip.mp4', (64, 64), 16, 5)

    def edit(name, **changes):
        flags, settings = EDITS[name]
        settings = {'sample_steps': 4, **settings, **changes}
        edit, ref = (
            cls(**{k: v for k, v in settings.items() if k in names(cls)})
            for cls in (EditConfig, RefConfig))
        photos = [Product(open_image(media / 'cut.png')[0])] \
            if 'cut.png' in flags else []
        mask = read_mask(media / 'box.png', (64, 64), 16, 5) \
            if 'box.png' in flags else None
        return pipe.generate(
            clip, photos, SOURCE, TARGET, edit, ref, mask,
            use_mask='--use_mask' not in flags, n_prompt='grey', seed=1,
            round_trip=False).video

    return edit


@pytest.mark.parametrize('name', EDITS)
def test_an_edit_there_is_ours(edited, ours, name):
    mine = ours(name)
    assert edited[name].shape == mine.shape == (3, 5, 64, 64)
    assert (edited[name] - mine).abs().max() < 1e-5


def test_the_edit_reads_the_photo(edited, ours):
    without = ours('masked', ref_c=(0.,))
    assert (edited['masked'] - without).abs().max() > 1e-2


SIZES = {'text_len': 8, 'dim': 24, 'ffn_dim': 32, 'freq_dim': 16,
         'text_dim': 12, 'num_heads': 2, 'num_layers': 2}


@pytest.fixture(scope='module')
def both(plain, on):
    r"""A model without and with the graft, of the same weights."""
    models = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for folder, name in ((plain, 'plain_modules'), (on, 'on_modules')):
            found = package(folder / 'wan/modules', name)
            sys.modules[f'{name}.model'].flash_attention = sdpa
            models.append(found.WanModel(**SIZES))
    models[1].load_state_dict(models[0].state_dict())
    return models


def inputs():
    g = torch.Generator().manual_seed(0)
    return {'x': [torch.randn(16, 2, 4, 6, generator=g)],
            't': torch.tensor([500.]), 'seq_len': 14,
            'context': [torch.randn(5, 12, generator=g)]}


def test_without_a_reference_the_bits_are_the_same(both):
    plain, there = (model(**inputs())[0] for model in both)
    assert plain.abs().max() > 0.1 and there.equal(plain)


def test_slots_see_what_they_may(both):
    seen = []

    def slot(q, k, v, x, *rotated):
        seen.append([q, k, v, x, *rotated])
        return x + 1

    plain, there = both[0](**inputs())[0], both[1](
        **inputs(), ref=[slot, None])[0]
    assert len(seen) == 1 and not there.equal(plain)
    assert {t.shape for t in seen[0]} == {(1, 14, 2, 12)}


def test_an_attention_without_a_reference_may_stand_in(both):
    r"""As that of sequence parallelism is put in place of the module's."""

    def forward(self, x, seq_lens, grid_sizes, freqs, dtype=torch.bfloat16):
        assert dtype is torch.bfloat16
        return x

    for model in both:
        for block in model.blocks:
            block.self_attn.forward = MethodType(forward, block.self_attn)
    plain, there = (model(**inputs())[0] for model in both)
    for model in both:
        for block in model.blocks:
            del block.self_attn.forward
    assert there.equal(plain)


def test_other_tasks_flags_are_refused():
    plain = {**grafted.OTHERS, 'src_video': 'a.mp4'}
    with pytest.raises(ValueError, match='--image is not for --task pvtt'):
        grafted.pvtt_video(Namespace(**plain | {'image': 'a.png'}))
    with pytest.raises(ValueError, match='--source_prompt is missing'):
        grafted.pvtt_video(Namespace(**plain))
