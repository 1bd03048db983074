r"""Settings as flags: types, defaults and help from one dataclass."""
import argparse
from dataclasses import dataclass

import pytest

from wan.utils.flags import (
    add_flags,
    build,
    check_choices,
    choice,
    given_flags,
    heading,
    names,
    parse,
    path,
    path_names,
    switch,
)


@dataclass(frozen=True)
class Settings:
    r"""What a thing is like.

    Its length is not known.

    Args:
        colour: 100 % of it.
        width, height: in metres.
        several: numbers
            of a kind.
        loud: whether it is.
        old: whether it was.
        photo: shows it.
        photos: show it.

    Raises:
        ValueError: a colour that is not known.
    """
    colour: str = choice('red', ('red', 'blue'))
    width: int = 3
    height: float | None = None
    several: tuple[float, ...] = (0.5, 1.0)
    loud: bool = True
    old: bool = switch()
    photo: str | None = path()
    photos: tuple[str, ...] = path(several=True)

    def __post_init__(self):
        check_choices(self)


def parser(**defaults):
    made = argparse.ArgumentParser(exit_on_error=False)
    add_flags(made.add_argument_group(heading(Settings)), Settings, defaults)
    return made


def given(*argv):
    return given_flags(parser().parse_args, argv, names(Settings))[0]


@pytest.mark.parametrize('argv, value', (
    (['--colour', 'blue'], {'colour': 'blue'}),
    (['--width=3'], {'width': 3}), (['--height', '2'], {'height': 2.0}),
    (['--loud'], {'loud': True}), (['--loud', 'no'], {'loud': False}),
    (['--old'], {'old': True}), (['--several', '1,2'], {'several': '1,2'}),
    (['--photos', 'a,b'], {'photos': 'a,b'}),
    (['--photos', 'a,b', '--photos', 'c'], {'photos': ['a,b', 'c']}),
    (['--photos=a', '--photos=b', '--photos=c'],
     {'photos': ['a', 'b', 'c']}),
    ([], {})))
def test_only_what_is_given_comes_through(argv, value):
    assert given(*argv) == value


def test_other_flags_keep_their_defaults():
    made = parser()
    made.add_argument('files', nargs='+')
    made.add_argument('--out', default='results')
    made.add_argument('--sweep', action='append', default=[])
    found, rest = given_flags(
        made.parse_intermixed_args,
        ['a', '--width', '4', 'b', '--sweep', 'x'], names(Settings))
    assert found == {'width': 4}
    assert vars(rest) == {
        'files': ['a', 'b'], 'out': 'results', 'sweep': ['x']}


def test_a_value_given_by_flag_file_or_caller_is_the_same():
    by_text = build(Settings, {
        'width': '3', 'height': '2', 'several': '0.5, 1', 'loud': 'false',
        'photos': 'a.png, b.png', 'other': 1, 'colour': None})
    by_value = build(Settings, {
        'width': 3, 'height': 2, 'several': [0.5, 1], 'loud': False,
        'photos': ['a.png', 'b.png']})
    assert by_text == by_value == Settings(
        height=2.0, several=(0.5, 1.0), loud=False,
        photos=('a.png', 'b.png'))
    assert type(by_value.height) is float


@pytest.mark.parametrize('kind, value, told', (
    (int, 1.5, 'x is 1.5, expected a whole number.'),
    (int, True, 'x is True, expected a whole number.'),
    (float, 'nan', "x is 'nan', expected a finite number."),
    (float, [1], r'x is \[1\], expected a finite number.'),
    (bool, 'perhaps', "x is 'perhaps', expected true or false."),
    (tuple[float, ...], '1,,2', "x is '1,,2', expected numbers separated")))
def test_what_is_of_another_type_is_refused(kind, value, told):
    with pytest.raises(ValueError, match=told):
        parse('x', kind, value)


def test_a_file_with_a_comma_is_one_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('a, b.png', ' c.png'):
        (tmp_path / name).touch()
        assert build(Settings, {'photos': name}).photos == (name,)
    assert build(Settings, {'photos': 'b.png, a.png'}).photos == (
        'b.png', 'a.png')


@pytest.mark.parametrize('value, told', (
    (10_001, 'height is 10001, allowed is -10000 to 10000.'),
    ('-1e39', 'height is -1e39, allowed is')))
def test_numbers_are_bounded(value, told):
    with pytest.raises(ValueError, match=told):
        build(Settings, {'height': value})
    assert build(Settings, {'height': 10_000}).height == 10_000


def test_a_name_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="'green', allowed: red, blue."):
        Settings(colour='green')
    with pytest.raises(argparse.ArgumentError, match="invalid choice: 'green'"):
        given('--colour', 'green')


def test_names_of_files():
    assert path_names(Settings) == ['photo', 'photos']
    assert build(Settings, {'photos': ['a,b.png']}).photos == ('a,b.png',)


def test_help_comes_from_docstring_and_defaults():
    text = ' '.join(parser(width=7).format_help().split())
    for part in ('What a thing is like:', '100 % of it (default: red)',
                 'in metres (default: 7)',
                 'numbers of a kind (default: 0.5,1.0)',
                 'whether it is (default: true)', '--old whether it was'):
        assert part in text
    assert 'not known' not in text
