r"""Networks whose weights are spread over processes."""
from pathlib import Path

import torch

from tests import goldens
from tests.distributed.cases import arguments, draw
from tests.distributed.pool import run, same, single
from wan.configs import WAN_CONFIGS
from wan.distributed.fsdp import free_model, load_sharded, shard_model
from wan.modules.model import WanModel
from wan.modules.t5 import T5Encoder, T5EncoderModel
from wan.refdrop.bank_file import BankFile
from wan.utils.checkpoint import CheckpointError

CONFIG = WAN_CONFIGS['t2v-tiny']


def local_numbers(model):
    r"""Numbers that this process holds of a network's weights."""
    return sum(getattr(p, 'to_local', lambda p=p: p)().numel()
               for p in model.parameters())


def both_ways(model, given):
    r"""The result of a forward, the text projected before or in it."""
    text = model.project_text(given['context'], given.get('clip_fea'))
    return model(**given) + model(**{**given, 'context': text})


def forwards(groups, names):
    r"""Each network's results, and the share of its weights held here."""
    found = []
    for name in names:
        model, given = arguments(name, (3, 5, 5))
        whole = local_numbers(model)
        if groups is not None:
            shard_model(model, groups.weights)
        found.append(both_ways(model, given))
        # What a forward has put together is let go again.
        assert groups is None or local_numbers(model) < .8 * whole
    return found


def test_forwards_are_equal_bit_for_bit(tmp_path):
    names = 'twelve', 'dit_i2v', 'vace'
    got = same(run(forwards, single(2), tmp_path, names))
    for one, other in zip(got, forwards(None, names), strict=True):
        assert all(map(torch.equal, one, other))


def precise(model):
    r"""A forward at a timestep that bfloat16 does not know."""
    return model([draw(16, 1, 8, 8)], torch.tensor([997.3]),
                 [draw(4, 32, seed=1)], 16)


def loaded(groups, checkpoint):
    r"""Weights that one process alone has read, in bfloat16."""
    reads = []

    def read():
        reads.append(1)
        return WanModel.from_pretrained(checkpoint, torch.bfloat16)

    model = load_sharded(
        WanModel.empty(checkpoint), read, groups.weights, groups.device)
    out = precise(model)
    assert len(reads) == (groups.weights.get_rank() == 0)
    dtypes = {str(p.dtype) for p in model.parameters()}
    free_model(model)
    return out, sorted(dtypes)


def test_weights_are_read_once(checkpoint, tmp_path):
    out, dtypes = same(run(loaded, single(2), tmp_path, checkpoint))
    assert dtypes == ['torch.bfloat16', 'torch.float32']
    want = precise(WanModel.from_pretrained(checkpoint, torch.bfloat16))
    assert torch.equal(out[0], want[0])


def refused(groups, checkpoint):
    try:
        load_sharded(
            WanModel.empty(checkpoint),
            lambda: WanModel.from_pretrained(checkpoint / 'nothing'),
            groups.weights, groups.device)
    except CheckpointError as error:
        return str(error)


def test_weights_that_cannot_be_read_are_everyones_error(
        checkpoint, tmp_path):
    assert 'nothing' in same(run(refused, single(2), tmp_path, checkpoint))


def identity(groups, checkpoint):
    r"""By what a bank file knows the weights."""
    model = WanModel.from_pretrained(checkpoint, torch.float32)
    if groups is not None:
        shard_model(model, groups.weights)
    file = BankFile(Path('bank'), 4, 4, 24, (1, 2, 3), (), {})
    return file.loaded([model]).facts['weights']


def test_a_bank_is_of_the_same_weights(checkpoint, tmp_path):
    got = same(run(identity, single(2), tmp_path, checkpoint))
    assert got == identity(None, checkpoint)


def encoder(checkpoint, shard_fn=None):
    return T5EncoderModel(
        12, torch.float32, torch.device('cpu'),
        checkpoint / CONFIG.t5_checkpoint, checkpoint / CONFIG.t5_tokenizer,
        shard_fn)


PROMPTS = 'a gold watch', 'red vase on a table', ''


def encoded(groups, checkpoint):
    r"""Prompts, through upstream's seam of the text encoder."""
    def shard(model, sync_module_states):
        return shard_model(model, groups.weights, sync_module_states)

    text = encoder(checkpoint, shard)
    out = text(PROMPTS, 'cpu')
    free_model(text.model)
    return out


def test_text_encoder(checkpoint, tmp_path):
    got = same(run(encoded, single(2), tmp_path, checkpoint))
    want = encoder(checkpoint)(PROMPTS, 'cpu')
    assert all(map(torch.equal, got, want))


def shared_positions(groups):
    kwargs, state = goldens.weights('t5_shared')
    model = T5Encoder(**kwargs).eval()
    model.load_state_dict(state)
    if groups is not None:
        shard_model(model, groups.weights)
    return model(torch.arange(7)[None])


def test_text_encoder_with_shared_positions(tmp_path):
    got = same(run(shared_positions, single(2), tmp_path))
    assert torch.equal(got, shared_positions(None))
