r"""Folders of transformers: what tells their class, and what they may say."""
import json

import pytest
import torch

from tests.modules.dit import small_sample, small_vace
from wan.modules.kinds import model_class
from wan.modules.model import WanModel
from wan.modules.vace_model import VaceWanModel
from wan.utils.checkpoint import CheckpointError


@pytest.mark.parametrize('sizes', (
    {}, {'vace_layers': (0, 1, 3), 'text_len': 7}, {'vace_in_dim': None}))
def test_save_and_load(tmp_path, sizes):
    model = small_vace(**sizes)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=.1)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / 'config.json').read_text())
    assert config['_class_name'] == 'VaceWanModel'
    assert config['model_type'] == 'vace'
    assert config['vace_layers'] == list(sizes.get('vace_layers', (0, 2)))
    assert config['vace_in_dim'] == (16 if sizes.get('vace_in_dim', 6) is None
                                     else 6)
    loaded = model_class(tmp_path).from_pretrained(tmp_path)
    assert type(loaded) is VaceWanModel
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    # Where weights lie in a mapped file may choose another kernel.
    loaded.load_state_dict(
        {name: w.clone() for name, w in loaded.state_dict().items()},
        assign=True)
    assert torch.equal(
        loaded(**small_sample(loaded))[0], model(**small_sample(model))[0])
    half = VaceWanModel.from_pretrained(tmp_path, torch.bfloat16)
    dtypes = {k: v.dtype for k, v in half.state_dict().items()}
    assert dtypes['vace_blocks.0.after_proj.weight'] == torch.bfloat16
    assert dtypes['vace_blocks.0.modulation'] == torch.float32


@pytest.fixture
def folder(tmp_path):
    small_vace().save_config(tmp_path)
    return tmp_path


def describe(folder, **changes):
    path = folder / 'config.json'
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(
        {k: v for k, v in config.items() if v is not None}))


def test_the_folder_tells_the_class(folder):
    assert model_class(folder) is VaceWanModel
    assert model_class(folder).empty(folder).vace_layers == [0, 2]
    describe(folder, model_type='t2v')
    assert model_class(folder) is WanModel
    assert type(WanModel.empty(folder)) is WanModel
    describe(folder, model_type=None)
    assert model_class(folder) is WanModel


@pytest.mark.parametrize('text', ('', '[]', '{'))
def test_a_folder_that_tells_nothing(folder, text):
    (folder / 'config.json').write_text(text)
    said = []
    for read in (model_class, WanModel.empty):
        with pytest.raises(CheckpointError, match='describes no m') as error:
            read(folder)
        said.append(str(error.value))
    assert said[0] == said[1]


@pytest.mark.parametrize('changes, told', (
    ({'vace_layers': [0, 9]}, 'vace_layers is [0, 9], it must be a rising'),
    ({'vace_layers': [2]}, 'vace_layers is [2], it must be a rising'),
    ({'vace_layers': []}, 'a list of 1 to 256, each a whole number from 0'),
    ({'vace_layers': 2}, 'vace_layers is 2, it must be a list'),
    ({'vace_layers': [0, .5]}, 'vace_layers is [0, 0.5]'),
    ({'vace_in_dim': 0}, 'vace_in_dim is 0'),
    ({'in_dim': 20}, 'in_dim is 20 and out_dim 16, of type vace both are'),
    ({'model_type': 't2v'}, "'t2v' of a VaceWanModel"),
))
def test_descriptions_that_are_none(folder, changes, told):
    describe(folder, **changes)
    with pytest.raises(CheckpointError) as error:
        VaceWanModel.empty(folder)
    assert told in str(error.value)


def test_a_vace_folder_is_no_other_model(folder):
    with pytest.raises(CheckpointError, match="'vace' of a WanModel"):
        WanModel.empty(folder)


@pytest.mark.parametrize('kind', ('i2v', 'flf2v'))
def test_channels_of_image_models(folder, kind):
    describe(folder, model_type=kind, in_dim=36)
    assert WanModel.empty(folder).model_type == kind
    describe(folder, in_dim=32)
    with pytest.raises(
            CheckpointError, match=r'in_dim is 32 and out_dim 16, of type '
            f'{kind} in_dim is 2 \\* out_dim \\+ 4'):
        WanModel.empty(folder)
