r"""Which config a checkpoint folder is of, and which files it has."""
import json

import pytest

from tests.cli import hollow
from wan.configs import SIZE_CONFIGS, SUPPORTED_SIZES, WAN_CONFIGS
from wan.jobs.checkpoint import Checkpoint


@pytest.fixture
def folder(checkpoint, tmp_path):
    return hollow(checkpoint, tmp_path / 'it')


def read(folder, task='any', types=('t2v',), **changes):
    r"""With other entries in its config.json; None removes one."""
    file = folder / 'config.json'
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps(
        {k: v for k, v in config.items() if v is not None}))
    return Checkpoint.read(folder, task, types)


def shape(name):
    return {side: WAN_CONFIGS[name][side]
            for side in ('dim', 'ffn_dim', 'num_heads', 'num_layers')}


def test_a_folder_may_name_its_config(folder):
    found = read(folder, wan_config='t2v-1.3B')
    assert found.config is WAN_CONFIGS['t2v-1.3B']
    assert found.sizes == SUPPORTED_SIZES['t2v-1.3B']


@pytest.mark.parametrize('name', ('t2v-1.3B', 't2v-14B', 't2v-tiny'))
def test_an_official_folder_is_known_by_its_shape(folder, name):
    found = read(folder, wan_config=None, **shape(name))
    assert found.config is WAN_CONFIGS[name]
    assert found.sizes == SUPPORTED_SIZES[name]


def test_a_width_alone_is_not_a_shape(folder):
    wide = shape('t2v-1.3B') | {'num_layers': 2}
    assert read(folder, wan_config=None, **wide).sizes == tuple(SIZE_CONFIGS)


def test_a_task_of_a_configs_name_has_that(folder):
    found = read(folder, 't2v-14B', wan_config='t2v-tiny')
    assert found.config is WAN_CONFIGS['t2v-14B']


@pytest.mark.parametrize('changes, told', (
    ({'wan_config': 't2v-2B'}, "wan_config is 't2v-2B', which is not a "
     'config of type t2v; allowed: t2v-14B'),
    ({'wan_config': ['t2v-14B']}, 'which is not a config of type t2v'),
    ({'wan_config': 'i2v-14B'}, "'i2v-14B', which is not a config of type"),
    ({'model_type': 'vace'}, 'needs a checkpoint of type t2v, ')))
def test_what_is_not_known_is_refused(folder, changes, told):
    with pytest.raises(ValueError) as caught:
        read(folder, **changes)
    assert told in str(caught.value)


def test_all_files_that_are_read_are_listed(folder):
    files = read(folder).files
    assert set(files) == {path for path in folder.rglob('*')
                          if path.is_file()}


def test_shapes_in_latent_cells_and_tokens(folder):
    found = read(folder)
    assert found.latent_shape((128, 96), 17) == (16, 5, 12, 16)
    assert found.tokens((128, 96), 17) == 5 * 6 * 8
