r"""Settings of the loop: what is filled in, what is allowed, the presets."""
from dataclasses import fields

import pytest
import torch

from wan.configs import WAN_CONFIGS
from wan.edit_config import PRESETS, EditConfig
from wan.refdrop.config import RefConfig

OFFICIAL, TINY = WAN_CONFIGS['t2v-1.3B'], WAN_CONFIGS['t2v-tiny']


@pytest.mark.parametrize('method, scale, tiny', [
    ('flowalign', 19.5, 7.5), ('flowedit', 13.5, 13.5), ('sdedit', 5., 5.)])
def test_model_and_method_fill_in_what_is_left_out(method, scale, tiny):
    edit = EditConfig(edit_method=method)
    official, small = edit.resolved(OFFICIAL), edit.resolved(TINY)
    assert official.sample_guide_scale == scale
    assert small.sample_guide_scale == tiny
    assert (official.sample_steps, small.sample_steps) == (50, 25)
    assert len(official.sigmas) == 36 and len(small.sigmas) == 19
    told = EditConfig(edit_method=method, sample_steps=3,
                      sample_guide_scale=2.)
    assert told.resolved(TINY) == told


def test_presets_name_settings_that_exist_and_are_allowed():
    kinds = {f.name: cls for cls in (EditConfig, RefConfig)
             for f in fields(cls)}
    for preset in PRESETS.values():
        for cls in (EditConfig, RefConfig):
            cls(**{k: v for k, v in preset.items() if kinds[k] is cls})
    # What makes it best, docs/quality: the guidance scale too.
    assert PRESETS['best']['sample_guide_scale'] == 2.
    changed = [name for name, preset in PRESETS.items() if any(
        preset[k] != getattr(kinds[k](), k) for k in preset)]
    assert changed == list(PRESETS)


def test_zeta_is_a_number_or_a_map():
    edit = EditConfig(
        fg_zeta_scale=.2, bg_zeta_scale=.1, collage_zeta_scale=.5)
    cells = torch.tensor([[[0., 1.]]])
    assert edit.zeta() == .1
    assert edit.zeta(cells).flatten().tolist() == pytest.approx([.1, .2])
    assert edit.zeta(cells, collage=True).flatten().tolist() == \
        pytest.approx([.1, .5])


@pytest.mark.parametrize('changes, message', [
    ({'edit_method': 'magic'}, 'allowed: flowalign, flowedit, sdedit'),
    ({'strength': 0.}, 'strength is 0.0'), ({'sample_steps': 0}, 'steps is 0'),
    ({'sample_shift': -1.}, 'shift is -1'),
    ({'collage_zeta_scale': 2.}, 'collage_zeta_scale is 2.0, allowed is 0'),
    ({'collage': 'tilted'}, 'allowed: flat, upright, turning, auto, off'),
    ({'mask_grow': -1}, 'mask_grow is -1, allowed is 0 to 16')])
def test_bad_values(changes, message):
    with pytest.raises(ValueError, match=message):
        EditConfig(**changes)
