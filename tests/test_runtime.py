r"""The machine as one value."""
import pytest
import torch

from wan.runtime import PLAIN, PROFILES, Runtime, default_dtype


def test_what_is_left_out_is_filled_in():
    runtime = Runtime(device='cpu').resolved()
    assert runtime.torch_device == torch.device('cpu')
    assert runtime.torch_dtype == default_dtype(torch.device('cpu'))
    assert runtime.offload_model is True
    assert runtime.resolved() == runtime
    told = Runtime(device='cpu', dtype='float32', offload_model=False)
    assert told.resolved().resolved() == told.resolved()
    assert told.resolved().torch_dtype == torch.float32


def test_a_profile_fills_in_what_is_left_out():
    small = Runtime(device='cpu', profile='8gb').resolved()
    assert small.quantize == 'int8' and small.vae_tiling
    assert small.vae_dtype == 'bfloat16' and not small.cache_text
    # The CPU has one memory.
    assert small.offload_blocks is False
    told = Runtime(device='cpu', profile='8gb', quantize='none',
                   vae_tiling=False).resolved()
    assert told.quantize == 'none' and not told.vae_tiling
    assert Runtime(device='cpu', profile='max').resolved() \
        .offload_model is False
    plain = Runtime(device='cpu').resolved()
    assert {name: getattr(plain, name) for name in PLAIN} == PLAIN


def test_every_profile_sets_what_there_is():
    for profile in PROFILES.values():
        assert set(profile) <= {*PLAIN, 'offload_model'}
        Runtime(**profile)


def test_each_runtime_has_its_own_attention():
    q = torch.randn(1, 5, 2, 8)
    math, matmul = (Runtime(device='cpu', attention=name)
                    for name in ('math', 'matmul'))
    assert math.attend.keywords == {'backend': 'math'}
    torch.testing.assert_close(math.attend(q, q, q), matmul.attend(q, q, q))


@pytest.mark.parametrize('given, told', [
    ({'device': 'toaster'}, 'device toaster is not usable here'),
    ({'device': 'meta'}, 'known are cuda, mps, cpu'),
    ({'device': 'cpu', 'dtype': 'float16'}, "dtype is 'float16', allowed"),
    ({'device': 'cpu', 'attention': 'sage'}, "attention is 'sage', allowed"),
    ({'profile': '6gb'}, "profile is '6gb', allowed: 8gb, 12gb"),
    ({'quantize': 'int4'}, "quantize is 'int4', allowed: none, int8, fp8"),
    ({'device': 'cpu', 'offload_blocks': True}, 'needs cuda'),
    ({'device': 'cpu', 'quantize': 'int8', 'dit_fsdp': True},
     'quantize does not go with dit_fsdp'),
    ({'device': 'cpu', 'compile': True, 'ulysses_size': 2},
     'compile is for one process')])
def test_what_is_not_there_is_refused(given, told):
    with pytest.raises(ValueError, match=told):
        Runtime(**given).resolved()


def test_compile_needs_a_compiler(monkeypatch):
    monkeypatch.delenv('CXX', raising=False)
    monkeypatch.setenv('PATH', '')
    with pytest.raises(ValueError, match=r'compiler on the CPU.*g\+\+'):
        Runtime(device='cpu', compile=True).resolved()


@pytest.mark.parametrize('given', [
    {'ulysses_size': 2}, {'ring_size': 2}, {'dit_fsdp': True},
    {'branch_parallel': 3}])
def test_what_takes_several_processes_is_refused_in_one(given):
    with pytest.raises(ValueError, match='needs several processes, and there'):
        Runtime(**given).check_single()
    assert Runtime(**given).parallel and not Runtime().parallel
    Runtime().check_single()
    assert Runtime(ulysses_size=2, ring_size=3).sp_size == 6


def test_what_is_left_open_depends_on_the_processes(monkeypatch):
    given = Runtime(device='cpu', ulysses_size='auto', ring_size='auto')
    alone = given.resolved()
    assert (alone.ulysses_size, alone.ring_size) == (1, 1)
    assert alone.offload_model
    monkeypatch.setenv('WORLD_SIZE', '4')
    several = given.resolved()
    assert several.ulysses_size == 'auto' and not several.offload_model
