import os
import shutil

import pytest

from tests.edits import draw
from tests.page.edits import EXAMPLES
from wan.page.uploads import accept, lies_in, safe_name


def files(folder):
    return sorted(str(path.relative_to(folder))
                  for path in folder.rglob('*') if path.is_file())


@pytest.mark.parametrize('kind, name', (
    ('video', 'template.mp4'), ('image', 'product.png'),
    ('mask', 'product.png'), ('mask', 'template_mask.mp4'),
    ('record', 'template.mp4'), ('record', 'product.png')))
def test_taken_over_once_under_its_name(tmp_path, kind, name):
    source = EXAMPLES / name
    first = accept(source, kind, tmp_path)
    assert first.read_bytes() == source.read_bytes()
    assert first.name == name
    assert accept(source, kind, tmp_path) == first
    assert len(files(tmp_path)) == 1 and len(list(tmp_path.iterdir())) == 1


def test_a_copy_of_another_name(tmp_path):
    source = tmp_path / 'it.png'
    draw().save(source)
    first = accept(source, 'image', tmp_path / 'to')
    shutil.copy(source, tmp_path / 'other.png')
    second = accept(tmp_path / 'other.png', 'image', tmp_path / 'to')
    assert first.is_file() and second.is_file()
    assert first.parent == second.parent


@pytest.mark.parametrize('kind, content, told', (
    ('image', b'no image', 'photo.png is not a readable image'),
    ('image', b'', 'photo.png is empty'),
    ('video', b'no video', 'photo.png is not a readable video'),
    ('mask', b'no mask', 'photo.png is not a readable image'),
    ('table', b'x' * (2**22 + 1), 'photo.png has 4194305 bytes, at most'),
))
def test_refused_in_a_sentence_and_nothing_is_left(
        tmp_path, kind, content, told):
    source = tmp_path / 'photo.png'
    source.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        accept(source, kind, tmp_path / 'to')
    assert str(caught.value).startswith(told)
    assert str(tmp_path) not in str(caught.value)
    assert list((tmp_path / 'to').iterdir()) == []


def test_too_many_pixels(tmp_path):
    draw('1', (40000, 5000), 0, 1).save(tmp_path / 'bomb.png')
    with pytest.raises(ValueError, match='bomb.png has more than'):
        accept(tmp_path / 'bomb.png', 'image', tmp_path / 'to')


@pytest.mark.parametrize('make', (
    os.mkfifo, os.mkdir, lambda path: os.symlink('/nowhere', path)))
def test_nothing_but_files(tmp_path, make):
    make(tmp_path / 'it.png')
    with pytest.raises(ValueError, match='^it.png is'):
        accept(tmp_path / 'it.png', 'image', tmp_path / 'to')


@pytest.mark.parametrize('text, name', (
    ('photo.PNG', 'photo.png'),
    ('/a/b/../c.png', 'c.png'),
    ('..\\..\\windows\\c.png', 'c.png'),
    ('..', 'file'),
    ('...png', 'file.png'),
    ('.hidden', 'hidden'),
    ('-rf.png', 'rf.png'),
    ('a\nb\x00c\u202egnp.png', 'a_b_c_gnp.png'),
    ('<script>"x"&.png', '_script__x_&.png'),
    ('my photo, 2.jpeg', 'my photo, 2.jpeg'),
    ('шляпа 帽子.webp', 'шляпа 帽子.webp'),
    ('cafe\u0301.png', 'caf\xe9.png'),
    ('bytes\udcff.png', 'bytes_xff.png'),
    ('it.png/', 'it.png'),
    ('it.a/b?', 'b_'),
    ('no.suffix here', 'no.suffix here'),
))
def test_names(text, name):
    assert safe_name(text) == name


def test_long_names_are_cut_between_letters():
    name = safe_name('帽' * 300 + '.png')
    assert name == '帽' * 40 + '.png'
    assert safe_name(name) == name


def test_lies_in(tmp_path):
    inside, outside = tmp_path / 'in', tmp_path / 'in2'
    inside.mkdir()
    outside.mkdir()
    (inside / 'it').touch()
    (outside / 'it').touch()
    (inside / 'link').symlink_to(outside / 'it')
    assert lies_in(inside / 'it', [inside])
    assert lies_in(inside, [inside])
    assert lies_in(inside / 'it', [outside, inside / 'it'])
    assert not lies_in(outside / 'it', [inside])
    assert not lies_in(inside / '..' / 'in2' / 'it', [inside])
    assert not lies_in(inside / 'link', [inside])
    assert not lies_in(inside / 'absent', [inside])
    assert not lies_in('\0', [inside])
