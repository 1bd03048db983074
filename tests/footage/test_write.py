r"""Files that are written: times, sound, subtitles, faults, memory."""
import os
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.clips import packets, planes, raw, starts, told
from tests.footage.media import patch, same, template
from tests.utils.media import ffmpeg, tags
from wan.footage import Footage, plan_writing, write, write_footage
from wan.utils.progress import Cancelled, Progress
from wan.utils.video import probe, read_video

SINE = ('-f', 'lavfi', '-i', 'sine=d=2')
VFR = ('-vf', "select='lt(n,8)+not(mod(n,5))'", '-fps_mode', 'vfr')
SRT = '1\n00:00:00,100 --> 00:00:00,300\nSale\n\n'


def untouched(footage):
    return [None] * len(footage.ticks)


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    return template(tmp_path_factory.mktemp('clip') / 'a.mp4')


@pytest.mark.parametrize('pixels,codec,source', [
    ('yuv420p', 'lossless', 'mp4'), ('yuv422p', 'lossless', 'mkv'),
    ('yuv444p10le', 'lossless', 'mov'), ('yuv420p12le', 'lossless', 'mkv'),
    ('yuv411p', 'lossless', 'mkv')])
@pytest.mark.parametrize('full', [False, True])
def test_without_loss_all_planes_come_back(
        tmp_path, pixels, codec, source, full):
    path = template(tmp_path / 'a.mkv', '-color_range', 'pc' if full else 'tv',
                    pixels=pixels, codec=('ffv1',))
    result = tmp_path / f'b.{source}'
    footage = Footage.open(path)
    changed = write_footage(result, footage, untouched(footage), codec=codec)
    assert raw(result) == raw(path)
    assert changed.notes == () and changed.share == 0
    assert (changed.psnr_outside, changed.ssim_outside,
            changed.largest_outside) == (100, pytest.approx(1), 0)


@pytest.mark.parametrize('size', [(37, 23), (38, 23), (37, 24)])
@pytest.mark.parametrize('codec,suffix', [
    ('x264', 'mp4'), ('prores', 'mov'),
    ('lossless', 'mkv'), ('lossless', 'mp4')])
def test_odd_sizes_survive(tmp_path, size, codec, suffix):
    path = template(
        tmp_path / 'a.mkv', '-vf', f'crop={size[0]}:{size[1]}:exact=1',
        codec=('ffv1',), frames=3)
    result = tmp_path / f'b.{suffix}'
    footage = Footage.open(path)
    changed = write_footage(result, footage, same(
        footage, left=4, top=4, width=12, height=8), codec=codec)
    assert told(result)['size'] == size
    off = (read_video(result) - read_video(path)).abs().amax((0, 1))
    assert off[6:10, 8:14].min() > 0.1
    if (codec, suffix) == ('lossless', 'mkv'):
        for a, b in zip(planes(raw(path), *size), planes(raw(result), *size),
                        strict=True):
            assert (a[:, -1] == b[:, -1]).all()
    else:
        assert any('4:4:4' in note or '4:2:2' in note
                   for note in changed.notes)


@pytest.mark.parametrize('suffix', ['mp4', 'mov', 'mkv'])
@pytest.mark.parametrize('options,frames', [
    ((), 12), (VFR, 14), (('-r', '30000/1001'), 12)])
@pytest.mark.parametrize('source', ['mp4', 'mkv'])
def test_times_and_duration_stay(tmp_path, source, suffix, options, frames):
    path = template(tmp_path / f'a.{source}', *options, frames=frames)
    footage, result = Footage.open(path), tmp_path / f'b.{suffix}'
    write_footage(result, footage, untouched(footage), measured=False)
    again = Footage.open(result)
    slack = 1.1e-3 if suffix == 'mkv' else 1e-5
    assert np.allclose(again.times, footage.times, atol=slack)
    assert again.duration == pytest.approx(footage.duration, abs=2e-3)
    assert again.info.rotation == 0
    if suffix != 'mkv':
        assert starts(result, 'video')[0] == 0


@pytest.mark.parametrize('cut', [0, 0.7])
@pytest.mark.parametrize('source,sound', [
    ('mp4', ('aac',)), ('mkv', ('libopus',)), ('mov', ('pcm_s16le',)),
    ('mkv', ('libmp3lame',)), ('ts', ('aac',)), ('mkv', ('flac',))])
@pytest.mark.parametrize('suffix', ['mp4', 'mov', 'mkv'])
def test_sound_is_copied_and_in_step(tmp_path, source, sound, suffix, cut):
    whole = template(
        tmp_path / f'w.{source}', '-g', 12, '-c:a', *sound, '-ac', 2,
        '-shortest', frames=48, inputs=SINE)
    path = tmp_path / f'a.{source}'
    ffmpeg('-ss', cut, '-i', whole, '-c', 'copy', path)
    footage, result = Footage.open(path), tmp_path / f'b.{suffix}'
    changed = write_footage(
        result, footage, untouched(footage), measured=False)
    if changed.notes:
        assert suffix == 'mov' and sound[0] in ('libopus', 'flac')
        assert 'cannot be copied to .mov: it is stored as aac' in (
            changed.notes[0])
        assert probe(result).audio_codec == 'aac'
    elif source == 'ts':  # whose packets have headers of their own
        assert all(a.endswith(b) for a, b in zip(
            packets(path, 'audio')[0], packets(result, 'audio')[0],
            strict=True))
    else:
        assert packets(result, 'audio') == packets(path, 'audio')
    gap, want = (starts(p, 'video')[0] - starts(p, 'audio')[0]
                 for p in (result, path))
    assert gap == pytest.approx(want, abs=0.03 if changed.notes else 2e-3)


@pytest.mark.parametrize('source,text', [
    ('mkv', 'srt'), ('mkv', 'ass'), ('mp4', 'mov_text')])
@pytest.mark.parametrize('suffix', ['mp4', 'mkv'])
def test_subtitles(tmp_path, source, text, suffix):
    (tmp_path / 's.srt').write_text(SRT)
    path = template(
        tmp_path / f'a.{source}', '-c:s', text, '-metadata:s:s:0',
        'language=deu', inputs=('-i', tmp_path / 's.srt'))
    footage, result = Footage.open(path), tmp_path / f'b.{suffix}'
    changed = write_footage(
        result, footage, untouched(footage), measured=False)
    assert len(packets(result, 'subtitle')) == 1
    assert any(b'Sale' in p for p in packets(result, 'subtitle')[0])
    assert 'language=deu' in tags_of_subtitles(result)
    if source == suffix:
        assert not changed.notes
    else:
        other = 'mov_text' if suffix == 'mp4' else 'srt'
        assert f'is stored as {other}' in changed.notes[0].replace(
            'it is', 'is')


def tags_of_subtitles(path):
    return ffmpeg('-i', path, '-map', '0:s', '-c', 'copy', '-f', 'ffmetadata',
                  '-') + tags(path)


def test_several_tracks_and_pictures_of_it(tmp_path, clip):
    path = tmp_path / 'a.mkv'
    (tmp_path / 'font.ttf').write_bytes(b'x')
    ffmpeg('-i', clip, *SINE, *SINE, '-map', 0, '-map', 1, '-map', 2, '-c:v',
           'copy', '-c:a:0', 'aac', '-c:a:1', 'libopus', '-t', 0.5, '-attach',
           tmp_path / 'font.ttf', '-metadata:s:t', 'mimetype=font/ttf', path)
    footage, result = Footage.open(path), tmp_path / 'b.mov'
    changed = write_footage(
        result, footage, untouched(footage), measured=False)
    assert len(packets(result, 'audio')) == 2
    assert packets(result, 'audio')[0] == packets(path, 'audio')[0]
    assert len(changed.notes) == 2
    assert '1 other streams of the template' in changed.notes[1]


@pytest.mark.parametrize('kind', ['gif', 'folder', 'alpha', 'grey', 'nv12'])
def test_what_has_no_such_planes(tmp_path, clip, kind):
    path = tmp_path / f'a.{"gif" if kind == "gif" else "mkv"}'
    if kind == 'gif':
        ffmpeg('-i', clip, path)
    elif kind == 'folder':
        path = tmp_path / 'pictures'
        path.mkdir()
        ffmpeg('-i', clip, path / '%03d.png')
    else:
        ffmpeg('-i', clip, '-pix_fmt', {
            'alpha': 'yuva420p', 'grey': 'gray', 'nv12': 'nv12'}[kind],
            '-c:v', 'rawvideo' if kind == 'nv12' else 'ffv1',
            tmp_path / ('a.nut' if kind == 'nv12' else 'a.mkv'))
        path = tmp_path / 'a.nut' if kind == 'nv12' else path
    footage, result = Footage.open(path), tmp_path / 'b.mp4'
    changed = write_footage(result, footage, same(footage), codec='lossless')
    assert changed.largest_outside == 0
    assert any('brought to 4:2:0' in note for note in changed.notes) == (
        kind != 'nv12')
    assert told(result)['pixels'] == 'yuv420p'
    if kind == 'nv12':
        assert planes(raw(result), 96, 64)[0][:, 32:].tolist() == planes(
            raw(clip), 96, 64)[0][:, 32:].tolist()
    else:
        assert told(result)['matrix'] == told(result)['primaries'] == 1
    video, before = read_video(result), read_video(path)
    assert (video - before)[..., 32:, :].abs().mean() < 0.15
    assert np.allclose(Footage.open(result).times, footage.times, atol=1e-3)
    shown = video[:, 0, 12:20, 20:36].flatten(1)
    assert (shown - torch.tensor([1., -1, -1])[:, None]).abs().max() < 0.1


def test_hdr_without_planes_is_refused(tmp_path):
    path = template(
        tmp_path / 'a.mkv', '-vf', 'format=gbrp10le,setparams='
        'color_primaries=bt2020:color_trc=smpte2084:colorspace=gbr',
        pixels='gbrp10le', codec=('ffv1',))
    with pytest.raises(ValueError, match='cannot be kept; with output model'):
        plan_writing(tmp_path / 'b.mp4', Footage.open(path))


def test_some_frames_only(tmp_path, clip):
    footage, result = Footage.open(clip), tmp_path / 'b.mp4'
    frames = footage.chosen(fps=8)
    assert frames == (0, 3, 6, 9)
    changed = write_footage(
        result, footage, [None, patch(), None, None], frames,
        codec='lossless')
    assert changed.share == pytest.approx(24 * 16 / 96 / 64 / 4)
    again = Footage.open(result)
    assert np.allclose(again.times, [footage.times[i] for i in frames])
    assert again.duration == pytest.approx(footage.duration, abs=1e-3)
    old, new = planes(raw(clip), 96, 64)[0], planes(raw(result), 96, 64)[0]
    assert (new[[0, 2, 3]] == old[[0, 6, 9]]).all()
    assert (new[1, 30:] == old[3, 30:]).all()


def test_metadata(tmp_path, clip):
    footage, result = Footage.open(clip), tmp_path / 'b.mp4'
    write_footage(result, footage, untouched(footage), measured=False,
                  metadata={'comment': 'a=b;\nc' * 20_000})
    assert 'comment=a\\=b' in tags(result)


def test_changed_is_measured_in_the_file(tmp_path, clip):
    r"""Against the same numbers taken from the planes of both files."""
    footage, result = Footage.open(clip), tmp_path / 'b.mp4'
    changed = write_footage(result, footage, same(footage), crf=25)
    outside = np.ones((64, 96), bool)
    outside[8:24, 16:40] = False
    masks = (outside, outside[::2, ::2], outside[::2, ::2])
    off = np.concatenate([
        np.abs(a.astype(int) - b)[:, mask].ravel() for a, b, mask in zip(
            planes(raw(result), 96, 64), planes(raw(clip), 96, 64), masks,
            strict=True)])
    assert changed.largest_outside == off.max() > 0
    assert changed.psnr_outside == pytest.approx(
        10 * np.log10(255**2 / (off**2).mean()), abs=1e-6)
    assert 0.5 < changed.ssim_outside < 1
    assert changed.share == 24 * 16 / 96 / 64


def test_nothing_is_outside(tmp_path, clip):
    footage, result = Footage.open(clip), tmp_path / 'b.mp4'
    changed = write_footage(result, footage, same(
        footage, left=0, top=0, width=96, height=64))
    assert changed.share == 1 and np.isnan(changed.psnr_outside)


@pytest.fixture
def folder(tmp_path):
    r"""Where an earlier result lies, which no fault may touch."""
    (tmp_path / 'b.mp4').write_bytes(b'earlier')
    yield tmp_path
    assert os.listdir(tmp_path) == ['b.mp4']
    assert (tmp_path / 'b.mp4').read_bytes() == b'earlier'


@pytest.mark.parametrize('fault', [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize('at', [0, 7])
def test_a_fault_leaves_no_file(folder, clip, fault, at):
    def faulty():
        for i in range(12):
            if i == at:
                raise fault
            yield patch()

    with pytest.raises(fault):
        write_footage(folder / 'b.mp4', Footage.open(clip), faulty())


@pytest.mark.parametrize('count,words', [
    (0, 'There are 0 patches for 12 frames'), (11, 'There are 11 patches'),
    (13, 'more patches than 12 frames')])
def test_unequal_numbers_of_patches(folder, clip, count, words):
    with pytest.raises(ValueError, match=words):
        write_footage(folder / 'b.mp4', Footage.open(clip), [None] * count)


@pytest.mark.parametrize('stage', ['write', 'measure'])
def test_cancelled(folder, clip, stage):
    seen = []

    def listen(step):
        seen.append((step.stage, step.done, step.total))
        if step.stage == stage and step.done == 5:
            progress.cancel()

    progress = Progress(listen)
    footage = Footage.open(clip)
    with pytest.raises(Cancelled):
        write_footage(folder / 'b.mp4', footage, untouched(footage),
                      progress=progress)
    assert (stage, 0, 12) in seen and seen[-1] == (stage, 5, 12)


def test_a_file_that_lost_frames_is_not_kept(folder, clip, monkeypatch):
    real = write.mux

    def lossy(path, video, target, *rest):
        real(path, video, target, *rest)
        ffmpeg('-i', target, '-frames:v', 11, '-c', 'copy', f'{target}.mkv')
        Path(f'{target}.mkv').replace(target)

    monkeypatch.setattr(write, 'mux', lossy)
    footage = Footage.open(clip)
    with pytest.raises(OSError, match='its 11 frames do not have the times'):
        write_footage(folder / 'b.mp4', footage, untouched(footage))


def test_an_encoder_that_fails(folder, clip, monkeypatch):
    monkeypatch.setattr(write, 'encode', lambda *args: (_ for _ in ()).throw(
        OSError('encoding failed')))
    footage = Footage.open(clip)
    with pytest.raises(OSError, match='Could not write .*encoding failed'):
        write_footage(folder / 'b.mp4', footage, untouched(footage))


def test_a_template_that_changes(tmp_path, clip):
    path = tmp_path / 'a.mp4'
    path.write_bytes(clip.read_bytes())
    footage = Footage.open(path)
    path.write_bytes(clip.read_bytes() + b'0')
    with pytest.raises(ValueError, match='has changed since'):
        write_footage(tmp_path / 'b.mp4', footage, untouched(footage))
    assert os.listdir(tmp_path) == ['a.mp4']


def test_few_patches_and_planes_are_alive(tmp_path, monkeypatch):
    r"""Whatever the length: what was made is let go."""
    path = template(tmp_path / 'a.mp4', frames=60)
    footage, alive, most = Footage.open(path), [], []

    def watched():
        for _ in footage.ticks:
            given = patch()
            alive.append(weakref.ref(given.rgb))
            yield given
            del given
            most.append(sum(ref() is not None for ref in alive))

    write_footage(tmp_path / 'b.mp4', footage, watched(), measured=False)
    assert len(most) == 60 and max(most) <= 2
