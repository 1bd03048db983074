import math
import shutil
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from wan.jobs.checkpoint import embedded_checkpoint
from wan.synth import sample_clip
from wan.synth.captions import words
from wan.synth.depth import depth_map, depth_mask, render_solid, solid_map
from wan.synth.render import product_map, visible_mask
from wan.synth.scene import PRODUCT_COLOURS
from wan.synth.train import __main__ as command
from wan.synth.train import dit, latents, quality, text, vae
from wan.synth.train.world import WORLDS
from wan.training.loop import Optimizer, Schedule, averaged, fit

SCHEDULE = Schedule(steps=12, rate=1e-2, warmup=3, average=0.9)


@pytest.fixture(autouse=True)
def _grad():
    with torch.enable_grad():
        yield


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(5, 4), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def train(folder, network, minutes=None, schedule=SCHEDULE, stop=None):
    def loss(step):
        if step == stop:
            raise KeyboardInterrupt
        generator = torch.Generator().manual_seed(step)
        ids = torch.randint(5, (16,), generator=generator)
        return (network(ids) - ids[:, None].sin()).square().mean(), {}

    return fit(network, loss, schedule, folder, minutes)


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_rate_rises_stays_and_falls_to_zero():
    schedule = Schedule(steps=100, rate=2.0, warmup=10, decay=0.5)
    rates = [schedule.at(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[10:50] == [2.0] * 40
    assert rates[75] == pytest.approx(1.0)
    assert rates[100] == 0


def test_training_descends(tmp_path):
    network = small()
    ids = torch.arange(5)

    def error():
        found = network(ids).detach()
        return float((found - ids[:, None].sin()).square().mean())

    before = error()
    assert train(tmp_path, network, schedule=Schedule(200, 1e-2))
    assert error() < before / 10
    assert (tmp_path / 'log.csv').read_text().startswith('step,seconds,loss')


def test_stopped_training_goes_on_to_the_same_weights(tmp_path):
    whole, parts = small(), small()
    train(tmp_path / 'whole', whole)
    while not train(tmp_path / 'parts', parts, minutes=1e-9):
        pass
    assert torch.equal(weights(whole), weights(parts))


def test_training_that_had_ended_says_so(tmp_path, caplog):
    ended, again = small(), small()
    train(tmp_path, ended)
    assert train(tmp_path, again)
    assert torch.equal(weights(ended), weights(again))
    assert f'Remove {tmp_path / "state.pt"} to train on' in caplog.text


def test_an_interrupted_run_keeps_its_last_step(tmp_path):
    whole, parts = small(), small()
    train(tmp_path / 'whole', whole)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / 'parts', parts, stop=7)
    train(tmp_path / 'parts', parts)
    assert torch.equal(weights(whole), weights(parts))


def test_average_is_shown_and_put_back():
    network = small()
    mean = [torch.zeros_like(p) for p in network.parameters()]
    before = weights(network)
    with averaged(network, mean):
        assert not weights(network).any()
    assert torch.equal(weights(network), before)
    assert not any(m.any() for m in mean)


@pytest.mark.parametrize('layout', [
    torch.contiguous_format, torch.channels_last])
def test_every_kind_of_weight_is_optimised(layout):
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3).to(memory_format=layout), nn.Flatten(),
        nn.Linear(16, 2))
    optimizer, before = Optimizer(network, 0.0), weights(network)
    network(torch.randn(2, 3, 4, 4)).square().sum().backward()
    optimizer.step(1e-2)
    assert (weights(network) != before).all()
    assert all(p.grad is None for p in network.parameters())


def test_muon_steps_do_not_depend_on_the_layout():
    torch.manual_seed(0)
    one = nn.Conv2d(3, 4, 3)
    two = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    two.load_state_dict(one.state_dict())
    x = torch.randn(2, 3, 5, 5)
    for network in (one, two):
        optimizer = Optimizer(network, 0.0)
        network(x).square().sum().backward()
        optimizer.step(1e-2)
    # The orthogonalised matrices differ by a permutation of columns.
    assert torch.allclose(one.weight, two.weight, atol=1e-3)


def test_noise_levels_are_shifted_toward_noise():
    sigma = dit.noise_levels(1000, torch.Generator().manual_seed(0))
    assert sigma.min() > 0 and sigma.max() < 1
    # Half of all levels, uniform and logit-normal, have u below 0.435.
    assert sigma.median() == pytest.approx(0.698, abs=0.01)


def test_the_loss_counts_more_in_the_product():
    shares = torch.zeros(3, 2, 128, 128)
    shares[1, 0, 40:48, 16:32] = 1  # row 5 and columns 2 and 3 of the latent
    shares[2, 1, 3, 100] = 1
    layouts = latents.tokens_of(shares)[None].expand(3, -1, -1).float() / 255
    weight = dit.focus(layouts, torch.tensor([0.7, 0.8, 0.95]))
    assert weight.shape == (3, 128, 4, 1)
    cells = torch.zeros(1, 1, 2, 16, 16)
    cells[..., 0, 5, 2:4] = cells[..., 1, 0, 12] = 1
    assert torch.equal(weight[:1] > 1, dit.patches(cells) > 0)
    assert weight.amax((1, 2, 3)).tolist() == pytest.approx([4, 2.5, 1])


def test_tokens_are_in_the_transformers_order(monkeypatch, tmp_path):
    monkeypatch.setitem(dit.SIZES, 'num_layers', 2)
    network = dit.new_network(tmp_path)
    nn.init.normal_(network.transformer.head.head.weight)
    inputs = (torch.randn(2, 16, 3, 8, 8), torch.tensor([0.3, 0.8]),
              torch.tensor([[5, 6, 1], [7, 1, 0]]),
              torch.tensor([[1, 1, 1], [1, 1, 0]]))
    every = torch.arange(48).expand(2, -1)
    whole = dit.patches(network(*inputs))
    assert torch.equal(network.of_tokens(*inputs, every), whole)
    some = dit.some_tokens(2, 48, 0.5, torch.Generator().manual_seed(0))
    part = network.of_tokens(*inputs, some)
    assert part.shape == (2, 24, 4, 16) and some[0].tolist() != some[1].tolist()
    assert (some.diff(dim=1) > 0).all() and some.max() < 48
    # Places count, and what is left out is not seen.
    hidden = inputs[0].clone()
    hidden[0, :, 0, :2, :2] += 1  # token 0 of the first sample
    again = network.of_tokens(hidden, *inputs[1:], some)
    seen = 0 in some[0].tolist()
    assert torch.equal(again[0], part[0]) != seen
    moved = network.of_tokens(*inputs, some.flip(1)).flip(1)
    assert torch.allclose(moved, part, atol=1e-4)


@pytest.mark.parametrize('world', WORLDS.values(), ids=WORLDS)
def test_tokenizer_knows_every_word(tmp_path, world):
    tokenizer = text.write_tokenizer(tmp_path, world)
    words = world.vocabulary
    ids, mask = tokenizer(
        [world.full_caption(world.sample(1)), ' '.join(words[:50]),
         ' '.join(words[50:]), ''],
        return_mask=True, add_special_tokens=True)
    unknown = text.SPECIAL.index('<unk>')
    assert not (ids == unknown).any()
    assert mask[3].sum() == 1
    assert ids.max() == text.sizes(world)['vocab'] - 1
    assert text.read_vocabulary(tmp_path) == text.vocabulary(world)


@pytest.mark.parametrize('world', WORLDS.values(), ids=WORLDS)
def test_full_captions_fit(world):
    longest = max(len(words(world.full_caption(world.sample(seed))))
                  for seed in range(300))
    assert longest + 1 <= text.CONFIG.text_len


def test_a_world_starts_from_the_words_of_another(tmp_path, monkeypatch):
    monkeypatch.setitem(dit.SIZES, 'num_layers', 1)
    flat, depth = WORLDS['flat'], WORLDS['depth']
    text.write_tokenizer(tmp_path, flat)
    before = dit.new_network(tmp_path)
    dit.export(before, tmp_path)
    after = dit.new_network(tmp_path, world=depth)

    def row(network, world, word):
        table = network.encoder.token_embedding.weight.bfloat16()
        return table[text.vocabulary(world)[word]]

    for word in ('red', 'star', '</s>'):
        assert torch.equal(row(before, flat, word), row(after, depth, word))
    assert not torch.equal(row(after, depth, 'can'), row(after, depth, 'a'))


def test_vae_starts_as_an_image_model():
    network = vae.new_network()
    clip = torch.rand(1, 3, 5, 32, 32) * 2 - 1
    changed = clip.clone()
    changed[:, :, 0] *= -1
    first, second = (network.encoder.conv1(x) for x in (clip, changed))
    assert torch.equal(first[:, :, 1:], second[:, :, 1:])


@pytest.mark.parametrize('step', range(5))
def test_vae_batches_depend_on_the_step_alone(step):
    frames, side, count = vae.CROPS[step % 5]
    batch = vae.batch(step)
    assert batch.shape == (count, 3, frames, side, side)
    assert torch.equal(batch, vae.batch(step))
    assert batch.min() >= -1 and batch.max() <= 1
    assert vae.batch(step, images=True).size(2) == 1


def test_the_decoder_is_trained_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(
        vae, 'batch', lambda step, world: torch.linspace(
            -1, 1, 3 * 32 * 32).view(1, 3, 1, 32, 32))
    vae.export(vae.new_network(), tmp_path / vae.VAE_FILE)
    before = torch.load(tmp_path / vae.VAE_FILE, weights_only=True)
    assert vae.train_decoder(tmp_path / 'decoder', tmp_path,
                             schedule=Schedule(2, 1e-2, warmup=1))
    after = torch.load(tmp_path / vae.VAE_FILE, weights_only=True)
    changed = {k.split('.')[0] for k in before
               if not torch.equal(before[k], after[k])}
    assert changed == {'conv2', 'decoder'}


@pytest.mark.parametrize('world', WORLDS.values(), ids=WORLDS)
@pytest.mark.parametrize('name, frames', [
    ('video', 17), ('image', 1), ('photo', 1)])
def test_samples_have_captions(name, frames, world):
    kind = latents.kinds(world)[name]
    assert kind.pixels(3).shape == (3, frames, 128, 128)
    assert torch.equal(kind.pixels(3), kind.pixels(3))
    caption = kind.caption(3, Random(0))
    assert caption == kind.caption(3, Random(0)) and caption.endswith('.')


def test_latents_of_a_kind_are_read_from_all_shards(tmp_path):
    for shards, start in enumerate((0, latents.SHARD), 1):
        values = torch.full((2, 16, 1, 2, 2), float(start))
        save_file({'latents': values.half()},
                  latents.shard_path(tmp_path, 'image', start))
        found = latents.Latents(tmp_path, 'image')
        assert len(found.latents) == len(found.layouts) == 2 * shards
    shutil.copy(latents.shard_path(tmp_path, 'image', start),
                latents.shard_path(tmp_path, 'image', 3 * latents.SHARD))
    assert len(latents.Latents(tmp_path, 'image').latents) == 4
    z, layouts, captions = found.batch(3, Random(0))
    assert z.shape == (3, 16, 1, 2, 2) and z.dtype == torch.float32
    assert len(captions) == 3
    assert layouts.shape == (3, 64, 48) and 0 < layouts.max() <= 1


def test_layouts_tell_the_colours_of_each_cell():
    clip = next(clip for clip in (sample_clip(i, frames=5) for i in range(99))
                if clip.product.pattern == 'striped')
    shares = product_map(clip)
    assert torch.allclose(shares.sum(0), visible_mask(clip))
    tokens = latents.tokens_of(shares).view(5, 8, 8, 4, 4, 3)
    # Frame 2, token (3, 4), its cell (1, 2), the second colour.
    cell = shares[1, 2, 3 * 16 + 4:3 * 16 + 8, 4 * 16 + 8:4 * 16 + 12]
    assert tokens[2, 3, 4, 1, 2, 1] == round(255 * float(cell.mean()))


def test_layouts_of_a_solids_photo_cover_it():
    photo = WORLDS['depth'].photo(Random(3))
    shares, alpha = solid_map(*photo), render_solid(*photo).getchannel('A')
    found = torch.frombuffer(
        bytearray(alpha.tobytes()), dtype=torch.uint8).view(1, 128, 128) / 255
    assert torch.allclose(shares.sum(0), found, atol=.005)


def test_a_moment_of_a_solid_is_the_frame_itself():
    depth = WORLDS['depth']
    clip = next(clip for clip in map(depth.sample, range(99)) if not (
        clip.motion.pan_x or clip.motion.pan_y or clip.motion.zoom))
    for frame, time in ((0, -.5), (8, 0.), (16, .5)):
        shown = depth.frozen(clip, time)
        assert torch.allclose(
            depth_mask(shown)[0], depth_mask(clip)[frame], atol=1e-4)
        assert torch.allclose(
            depth_map(shown)[:, 0], depth_map(clip)[:, frame], atol=1e-3)


def test_missing_latents_are_named(tmp_path):
    with pytest.raises(ValueError, match='video.*run the latents stage'):
        latents.Latents(tmp_path, 'video')


@pytest.mark.parametrize('flags, message', [
    (['latents'], 'No weights at'), (['quality'], 'No weights at'),
    (['dit', '--out', str(embedded_checkpoint())],
     'run the latents stage first'),
    (['vae', '--minutes', '-3'], '--minutes is -3.0'),
    (['vae', '--minutes', 'nan'], '--minutes is nan'),
    (['nothing'], 'invalid choice'),
])
def test_bad_flags(capsys, tmp_path, flags, message):
    folders = ['--work', str(tmp_path / 'w'), '--out', str(tmp_path / 'o')]
    assert command.main([*folders, *flags]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('wan.synth.train: error: ') and message in error
    assert not list(tmp_path.iterdir())


def test_a_stage_by_command(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setitem(command.STAGES, 'vae', lambda *args: seen.append(args))
    assert command.main([
        'vae', '--work', str(tmp_path), '--minutes', '2']) == 0
    assert [args[:3] for args in seen] == [
        (tmp_path / 'vae', Path('checkpoints/tiny'), 2.)]


def test_steps_are_images_then_mostly_videos():
    class Fake:
        def __init__(self, frames):
            self.frames = frames

        def batch(self, count, rng):
            return (torch.zeros(count, 16, self.frames, 1, 1),
                    torch.zeros(count, 64 * self.frames, 48), [''] * count)

    data = {'video': Fake(5), 'image': Fake(1), 'photo': Fake(1)}
    frames = {progress: [
        dit._batch(data, progress, 1.0, Random(f'{i}'))[0].size(2)
        for i in range(400)] for progress in (0.0, 0.5)}
    assert set(frames[0.0]) == {1}
    share = frames[0.5].count(1) / 400
    assert share == pytest.approx(dit.IMAGE_SHARE, abs=0.06)


def test_written_networks_are_read_again(tmp_path, monkeypatch):
    monkeypatch.setitem(dit.SIZES, 'num_layers', 1)
    network = dit.new_network(tmp_path)
    text.write_tokenizer(tmp_path)
    dit.export(network, tmp_path)
    again = dit.new_network(tmp_path)
    error = max(float((a - b).detach().abs().max()) for a, b in zip(
        network.parameters(), again.parameters(), strict=True))
    assert error < 0.02 and math.isfinite(error)


def test_mean_colour_is_of_the_named_pixels():
    frame = torch.zeros(3, 4, 4)  # grey, near to no product's colour
    red = torch.tensor(PRODUCT_COLOURS['red']) * 2 - 1
    frame[:, :2] = red[:, None, None]
    found = quality.mean_colour(frame, 'red')
    assert torch.allclose(found, torch.tensor(PRODUCT_COLOURS['red']))
    assert not quality.mean_colour(frame, 'blue').any()
