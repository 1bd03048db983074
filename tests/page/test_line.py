from types import SimpleNamespace

from wan.page.line import Line


def one(name, visitor, ahead=False):
    return SimpleNamespace(name=name, visitor=visitor, ahead=ahead)


def taken(line):
    return [line.take().name for _ in range(len(line))]


def test_visitors_take_turns():
    line = Line()
    for name in ('a1', 'a2', 'a3', 'b1', 'b2', 'c1'):
        line.put(one(name, name[0]))
    told = [waiting.name for waiting in line.order()]
    assert taken(line) == told == ['a1', 'b1', 'c1', 'a2', 'b2', 'a3']
    assert line.take() is None


def test_who_comes_one_by_one_has_no_more_than_his_turn():
    line = Line()
    for name in ('a1', 'a2', 'a3'):
        line.put(one(name, 'a'))
    order = []
    for turn in range(3):
        line.put(one(f'b{turn}', 'b'))
        order += [line.take().name, line.take().name]
    assert order == ['a1', 'b0', 'a2', 'b1', 'a3', 'b2']


def test_what_is_short_goes_ahead():
    line = Line()
    for name, ahead in (('a1', False), ('a2', False), ('a3', True)):
        line.put(one(name, 'a', ahead))
    assert taken(line) == ['a3', 'a1', 'a2']


def test_dropped():
    line, it = Line(), one('a1', 'a')
    line.put(it)
    assert line.drop(it) and not line.drop(it)
    assert len(line) == 0
