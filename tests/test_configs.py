r"""The tables of wan.configs against the recorded ones.

Ours may have entries of their own, after the recorded ones.
"""
import os
from importlib.util import module_from_spec, spec_from_file_location

import pytest
import torch
from easydict import EasyDict

from tests.goldens import table
from wan import configs
from wan.configs import (
    MAX_AREA_CONFIGS,
    SIZE_CONFIGS,
    SUPPORTED_SIZES,
    WAN_CONFIGS,
)

RECORDED = table('configs')


def expected(field, value):
    if RECORDED['field_python_types'][field] == 'dtype':
        return getattr(torch, value.removeprefix('torch.'))
    return tuple(value) if field in RECORDED['tuple_fields'] else value


@pytest.mark.parametrize('name', RECORDED['WAN_CONFIGS'])
def test_values_and_types(name):
    config, recorded = WAN_CONFIGS[name], RECORDED['WAN_CONFIGS'][name]
    assert isinstance(config, EasyDict)
    assert dict(config) == {k: expected(k, v) for k, v in recorded.items()}
    for field in recorded:
        assert type(config[field]).__name__ == \
            RECORDED['field_python_types'][field]
        assert getattr(config, field) is config[field]


@pytest.mark.parametrize(
    'name', [k for k in RECORDED['WAN_CONFIGS'] if k.startswith('t2')])
def test_field_order(name):
    assert list(WAN_CONFIGS[name]) == list(RECORDED['WAN_CONFIGS'][name])


def test_shared_configs_are_one_object():
    for first, second in RECORDED['same_object']:
        assert WAN_CONFIGS[first] is WAN_CONFIGS[second]
    assert len({id(c) for c in WAN_CONFIGS.values()}) == \
        len(WAN_CONFIGS) - len(RECORDED['same_object'])


@pytest.mark.parametrize('name, ours, value', (
    ('WAN_CONFIGS', WAN_CONFIGS, lambda v: v),
    ('SIZE_CONFIGS', SIZE_CONFIGS, tuple),
    ('MAX_AREA_CONFIGS', MAX_AREA_CONFIGS, int),
    ('SUPPORTED_SIZES', SUPPORTED_SIZES, tuple)))
def test_tables(name, ours, value):
    recorded = RECORDED[name]
    assert list(ours)[:len(recorded)] == list(recorded)
    if ours is not WAN_CONFIGS:
        assert {k: ours[k] for k in recorded} == \
            {k: value(v) for k, v in recorded.items()}


def test_our_own_entries_fit_in():
    assert set(SUPPORTED_SIZES) == set(WAN_CONFIGS)
    for sizes in SUPPORTED_SIZES.values():
        assert set(sizes) <= set(SIZE_CONFIGS)
    for size, (width, height) in SIZE_CONFIGS.items():
        assert size == f'{width}*{height}'
        assert width % 16 == height % 16 == 0
    for config in WAN_CONFIGS.values():
        assert config.dim % config.num_heads == 0


def test_import_quietens_the_tokenizers(monkeypatch):
    monkeypatch.setenv('TOKENIZERS_PARALLELISM', 'true')
    spec = spec_from_file_location(
        'wan.configs', configs.__file__, submodule_search_locations=[])
    spec.loader.exec_module(module_from_spec(spec))
    assert os.environ['TOKENIZERS_PARALLELISM'] == 'false'
