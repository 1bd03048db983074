r"""A template prepared once: what its folder says, and what is made anew."""
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

import generate
from tests.cli import failure, nothing_changes, prepared, share_pipelines
from tests.edits import SOURCE, TARGET
from tests.utils.media import make_clip
from wan.jobs.edit_output import OutputSettings
from wan.jobs.edit_settings import EditInputs, EditOptions
from wan.pipeline import WanPipeline
from wan.pvtt import WanPVTT
from wan.utils.kept import key_of
from wan.utils.video import read_video

PIPELINES = {}
# A collage is a clip of its own, which is encoded for each product.
ALONE = ('--save_comparison', 'false', '--collage_zeta_scale', '0')
KEPT = ('latent', 'text.source', 'text.null')


@pytest.fixture(autouse=True)
def _one_pipeline(monkeypatch):
    share_pipelines(monkeypatch, PIPELINES)


@pytest.fixture
def encoded(monkeypatch):
    r"""What is encoded: names of prompts, and 'latent' for a clip."""
    seen = []

    def texts(self, prompts, *rest, original=WanPipeline.encode_text):
        seen.extend(prompts)
        return original(self, prompts, *rest)

    def clip(self, video, *rest, original=WanPVTT.encode_video):
        if video.size(1) > 1:  # else a photo
            seen.append('latent')
        return original(self, video, *rest)

    monkeypatch.setattr(WanPVTT, 'encode_text', texts)
    monkeypatch.setattr(WanPVTT, 'encode_video', clip)
    return seen


@pytest.fixture(scope='module')
def wide(media):
    r"""A template of 5 frames that is larger than what the model sees."""
    return make_clip(media / 'wide.mp4', source='testsrc=s=320x256:r=16:d=0.31')


def template_flags(checkpoint, media, *more):
    return [str(flag) for flag in (
        '--task', 'pvtt', '--ckpt_dir', checkpoint, '--device', 'cpu',
        '--base_seed', 1, '--sample_steps', 2, '--source_prompt', SOURCE,
        '--src_video', media / 'wide.mp4', *more)]


def product_flags(checkpoint, media, folder, save_file, *more):
    return [str(flag) for flag in (
        '--task', 'pvtt', '--ckpt_dir', checkpoint, '--device', 'cpu',
        '--base_seed', 1, '--template', folder, '--target_image',
        media / 'cut.png', '--target_prompt', TARGET, '--save_file',
        save_file, *ALONE, *more)]


@pytest.fixture(scope='module')
def made(checkpoint, media, wide, tmp_path_factory):
    r"""A template whose mask was given."""
    folder = tmp_path_factory.mktemp('made') / 'template'
    with pytest.MonkeyPatch.context() as patch:
        share_pipelines(patch, PIPELINES)
        assert generate.main([*template_flags(
            checkpoint, media, '--src_mask', media / 'wide_box.png'),
            '--prepare', str(folder)]) == 0
    return folder


@pytest.fixture(scope='module', autouse=True)
def _box(media):
    from PIL import Image
    box = Image.new('L', (320, 256))
    box.paste(255, (96, 64, 180, 150))
    box.save(media / 'wide_box.png')


@pytest.fixture
def folder(made, tmp_path):
    r"""A copy that a test may change."""
    return Path(shutil.copytree(made, tmp_path / 'template'))


def use(checkpoint, media, folder, save_file, *more):
    assert generate.main(product_flags(
        checkpoint, media, folder, save_file, *more)) == 0
    return read_video(save_file), json.loads(
        save_file.with_suffix('.json').read_text())


def change(folder, old, new):
    path = folder / 'template.yaml'
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_folder_says_what_the_template_is(made, media):
    assert sorted(os.listdir(made)) == sorted([
        'mask.mov', 'preview.png', 'template.json', 'template.yaml',
        *(f'{name}.safetensors' for name in KEPT)])
    text = (made / 'template.yaml').read_text()
    assert yaml.safe_load(text) == {
        'video': {
            'src_video': str(media / 'wide.mp4'), 'source_prompt': SOURCE,
            'src_mask': 'mask.mov', 'fps': 'native', 'start': 0.0,
            'end': None, 'crop': 'auto'},
        'flowalign': {'sample_steps': 2}}
    assert '# 5 of 5 frames are edited, 0.00 to 0.25 s.' in text
    mask = read_video(made / 'mask.mov')
    assert mask.shape == (3, 5, 256, 320)
    assert (mask[:, :, 64:150, 96:180] == 1).all()
    assert mask.sum() == 2 * 3 * 5 * 84 * 86 - mask.numel()


def test_a_use_is_the_same_edit_and_encodes_nothing(
        checkpoint, media, folder, tmp_path, encoded):
    with nothing_changes(folder):
        got, record = use(checkpoint, media, folder, tmp_path / 'a.mp4')
    assert encoded == ['target']
    assert record['arguments']['template'] == str(folder)
    encoded.clear()
    flags = template_flags(
        checkpoint, media, '--src_mask', media / 'wide_box.png',
        '--target_image', media / 'cut.png', '--target_prompt', TARGET,
        '--save_file', tmp_path / 'b.mp4', *ALONE)
    assert generate.main(flags) == 0
    assert sorted(encoded) == ['latent', 'null', 'source', 'target']
    assert torch.equal(got, read_video(tmp_path / 'b.mp4'))


def paint(folder):
    r"""Another mask, further to the left."""
    from wan.utils.video_writer import write_video
    mask = read_video(folder / 'mask.mov').roll(-80, -1)
    frames = ((mask + 1) * 127.5).byte().permute(1, 2, 3, 0).numpy()
    write_video(folder / 'mask.mov', frames, 16, lossless=True)


def reshoot(folder):
    path = folder / 'other.mp4'
    make_clip(path, source='testsrc2=s=320x256:r=16:d=0.31')
    text = (folder / 'template.yaml').read_text().splitlines()
    (folder / 'template.yaml').write_text('\n'.join(
        '  src_video: other.mp4' if 'src_video' in line else line
        for line in text))


def reshape(folder, name, shape):
    r"""Other values, under the key of the right ones."""
    path = folder / f'{name}.safetensors'
    with safe_open(path, 'pt') as file:
        told, value = file.metadata(), file.get_tensor('value')
    if shape is None:
        value = value + 1
    else:
        value = torch.ones(shape)
        told['value'] = key_of(value)
    save_file({'value': value}, path, metadata=told)


CHANGES = {
    'mask': (paint, ['latent']),
    'video': (reshoot, ['latent']),
    'source_prompt': (
        lambda f: change(f, SOURCE, 'a blue vase on a table'), ['source']),
    'crop': (
        lambda f: change(f, 'crop: auto', 'crop: 60,50,130,130'), ['latent']),
    'n_prompt': (lambda f: change(f, 'fps: native', 'n_prompt: dull'),
                 ['null']),
    'steps': (lambda f: change(f, 'steps: 2', 'steps: 3'), []),
    'garbled': (lambda f: (f / 'latent.safetensors').write_bytes(b'\xff' * 99),
                ['latent']),
    'latent of another shape': (
        lambda f: reshape(f, 'latent', (1, 2)), ['latent']),
    'text of another shape': (
        lambda f: reshape(f, 'text.source', (3, 5)), ['source']),
    'other numbers': (
        lambda f: reshape(f, 'text.null', None), ['null']),
    'lost': (lambda f: (f / 'text.null.safetensors').unlink(), ['null']),
}


@pytest.mark.parametrize('name', CHANGES)
def test_a_change_makes_anew_what_depends_on_it(
        checkpoint, media, folder, tmp_path, encoded, name):
    alter, expected = CHANGES[name]
    alter(folder)
    use(checkpoint, media, folder, tmp_path / 'a.mp4')
    assert sorted(encoded) == sorted([*expected, 'target'])
    encoded.clear()
    use(checkpoint, media, folder, tmp_path / 'b.mp4')
    assert encoded == ['target']


def test_flags_override_it_and_paths_are_its_own(
        checkpoint, media, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('mask.mov').write_text('another')
    job = prepared(*product_flags(
        checkpoint, media, 'template', 'a.mp4', '--crop', 'full'))
    assert job.settings[OutputSettings].crop == 'full'
    assert job.settings[EditInputs].src_mask == 'template/mask.mov'
    assert 'crop' in job.settings.given
    assert 'src_mask' not in job.settings.given


def test_what_was_found_is_the_same_edit(
        checkpoint, media, tmp_path, monkeypatch):
    r"""The window and the mask do not depend on the way through a file."""
    found = torch.zeros(5, 128, 128)
    found[:, 30:61, 41:77] = 1

    monkeypatch.setattr(WanPVTT, 'locate', lambda *_, **__: found)
    common = template_flags(checkpoint, media, '--target_prompt', TARGET)
    assert generate.main([*common, '--prepare', str(tmp_path / 't')]) == 0
    got, _ = use(checkpoint, media, tmp_path / 't', tmp_path / 'a.mp4')
    assert generate.main([
        *common, '--target_image', str(media / 'cut.png'), '--save_file',
        str(tmp_path / 'b.mp4'), *ALONE]) == 0
    assert torch.equal(got, read_video(tmp_path / 'b.mp4'))


def test_a_product_that_is_not_found_is_said(
        checkpoint, media, tmp_path, monkeypatch):
    monkeypatch.setattr(WanPVTT, 'locate', lambda *_, **__: None)
    assert generate.main([*template_flags(
        checkpoint, media, '--target_prompt', TARGET),
        '--prepare', str(tmp_path / 't')]) == 0
    text = (tmp_path / 't/template.yaml').read_text()
    assert yaml.safe_load(text)['flowalign']['use_mask'] is False
    assert '# The product was not found' in text
    assert not (tmp_path / 't/mask.mov').exists()
    job = prepared(*product_flags(
        checkpoint, media, tmp_path / 't', tmp_path / 'a.mp4'))
    assert not job.settings[EditOptions].use_mask


def test_a_folder_that_cannot_be_written_is_a_note(
        checkpoint, media, folder, tmp_path, monkeypatch):
    from wan.utils import kept

    def full(path):
        raise PermissionError(13, 'Permission denied')

    change(folder, SOURCE, 'a blue vase on a table')
    monkeypatch.setattr(kept, 'atomic_write', full)
    _, record = use(checkpoint, media, folder, tmp_path / 'a.mp4')
    assert any('text.source.safetensors cannot be written' in note
               for note in record['results']['notes'])


REFUSED = {
    'no yaml': ('video: {', 'Cannot read'),
    'no sections': ('- 1', 'must have the sections video, flowalign'),
    "a product's": ('video: {target_image: a.png}', "unknown key "
                    "'target_image'"),
    'a seed': ('flowalign: {seed: 1}', "unknown key 'seed'"),
    'nested': ('video: {template: .}', "unknown key 'template'"),
    'no video': ('video: {source_prompt: a}', 'src_video is missing'),
    'preset': ('flowalign: {ref_preset: [a]}', 'ref_preset'),
    'bytes': ('video: {source_prompt: "\\ud800"}', 'not text in UTF-8'),
    'mask': ('video: {src_video: v.mp4, source_prompt: a, src_mask: no.mov}',
             'no.mov'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_wrong_files_are_refused_in_a_sentence(
        shell, media, wide, tmp_path, capsys, name):
    text, told = REFUSED[name]
    shutil.copy(wide, tmp_path / 'v.mp4')
    (tmp_path / 'template.yaml').write_text(text)
    assert told in failure(capsys, 2, product_flags(
        shell, media, tmp_path, tmp_path / 'out/a.mp4'))


@pytest.mark.parametrize(('flags', 'told'), [
    (['--preview', '--prepare', 't'], 'give one of them'),
    (['--save_file', 'a.mp4', '--prepare', 't'], 'its own folder'),
    (['--output', 'model', '--prepare', 't'], 'output is model'),
    (['--prepare', 't'], 'prepare needs src_mask or'),
    (['--template', 'nowhere', '--prepare', 't'], 'not an existing folder'),
])
def test_what_cannot_be_prepared_is_refused(
        shell, media, wide, tmp_path, capsys, monkeypatch, flags, told):
    monkeypatch.chdir(tmp_path)
    assert told in failure(
        capsys, 2, template_flags(shell, media, *flags))
    assert not list(tmp_path.iterdir())


def test_a_template_is_no_template_of_another(
        shell, media, folder, tmp_path, capsys):
    assert 'is one already' in failure(capsys, 2, template_flags(
        shell, media, '--template', folder, '--prepare', tmp_path / 'b'))


def test_only_an_edit_has_templates(shell, capsys, tmp_path):
    assert 'prepare is not for task t2v-tiny; it is for pvtt' in failure(
        capsys, 2, ['--task', 't2v-tiny', '--prepare', tmp_path / 't'])


def test_what_a_person_changed_is_not_replaced(
        shell, media, folder, capsys):
    change(folder, 'crop: auto', 'crop: full')
    assert 'not as an earlier run left it' in failure(
        capsys, 2, [*template_flags(
            shell, media, '--src_mask', media / 'wide_box.png'),
            '--prepare', folder])
