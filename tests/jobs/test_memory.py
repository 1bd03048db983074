r"""The memory a job takes: closed forms, and what each setting saves."""
from dataclasses import replace

import pytest
import torch
import torch.nn as nn

from tests.cli import prepared
from wan import jobs
from wan.jobs.memory import Held, Memory, activations, decoding_bytes
from wan.runtime import PROFILES, Runtime

FP32 = torch.float32


class Network(nn.Module):
    r"""10 numbers outside of 3 blocks of 6 x 4 and 6."""

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.zeros(10))
        self.blocks = nn.ModuleList(nn.Linear(4, 6) for _ in range(3))


def held(**settings):
    # Streaming is of CUDA alone, and is only counted here.
    runtime = replace(Runtime(device='cpu').resolved(), **settings)
    return Held.of(Network(), FP32, runtime)


def test_weights_are_counted():
    assert held() == Held(4 * 100, 4 * 100)


def test_streamed_weights_are_two_blocks_of_them():
    assert held(offload_blocks=True) == Held(4 * 100, 4 * (10 + 2 * 30))


def test_8_bit_weights_have_scales_and_one_is_put_back():
    block = 24 + 4 * 6 + 4 * 6  # codes, scales, bias
    whole = 40 + 3 * block
    assert held(quantize='int8') == Held(whole, whole + 4 * 24)
    assert held(quantize='fp8', offload_blocks=True) == Held(
        whole, 40 + 2 * block + 4 * 24)


def test_activations_are_of_the_wider_half_of_a_block():
    assert activations(100, 10, 2) == 3000
    assert activations(100, 1000, 2) == 4000


def test_tiles_bound_the_features():
    video = 12 * 5 * 1280 * 720
    whole = decoding_bytes(96, (1280, 720), 5, 2) - video
    tiled = decoding_bytes(96, (1280, 720), 5, 2, tiling=True) - video
    assert tiled <= whole * 384 * 384 / (1280 * 720)
    assert decoding_bytes(96, (1280, 720), 5, 4) - video == 2 * whole


@pytest.fixture(scope='module')
def job():
    return prepared('--task', 't2v-tiny', '--prompt', 'a red cup')


def test_profiles_are_in_their_order(job):
    peaks = list(Memory(job).profiles().values())
    assert list(PROFILES) == ['8gb', '12gb', '24gb', '48gb', 'max']
    assert peaks == sorted(peaks)


def test_a_plan_tells_what_fits(job):
    lines = dict(line.split(None, 1) for line in jobs.plan(job).splitlines())
    assert lines['profiles'].endswith('fit') and '8gb 0.0' in lines['profiles']
    assert 'memory' not in lines  # settings as upstream has them
    small = prepared('--task', 't2v-tiny', '--prompt', 'a red cup',
                     '--profile', '8gb', '--cache_text', 'true')
    assert 'memory       quantize int8, vae_tiling true, vae_dtype ' \
        'bfloat16' in jobs.plan(small).splitlines()


def test_a_profile_is_in_the_record(job):
    made = prepared('--task', 't2v-tiny', '--prompt', 'a red cup',
                    '--profile', '12gb', '--vae_tiling', 'false')
    flat = made.settings.flat()
    assert flat['profile'] == '12gb' and flat['vae_tiling'] is False
    assert flat['vae_dtype'] == 'bfloat16' and flat['quantize'] == 'none'
