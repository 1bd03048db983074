r"""Reading an interface, and which of two signatures breaks a call."""
import pytest

from tools.comparison import Row, compare
from tools.interface import CLASS, imported, read_interface
from tools.literals import ANY

SOURCE = """
LIMIT = 4 * 8
class Net(Base):
    names = ['a', 'b']
    @register
    def __init__(self, dim, eps=1e-6, sizes=[1, 2]):
        pass
    def forward(self, x: Tensor, *, mask=None, dtype=torch.float):
        pass
    def _private(self):
        pass
def build(*args, seed=-1, **kwargs):
    pass
"""


def read(root, source: str) -> dict:
    r"""The interface of a tree whose module wan.net holds `source`."""
    (root / 'wan').mkdir(exist_ok=True)
    (root / 'wan/net.py').write_text(source)
    return read_interface(root)


def differences(root, change: tuple[str, str]) -> dict[str, tuple]:
    r"""name -> (state, detail) after replacing a text of SOURCE by another."""
    assert change[0] in SOURCE
    theirs = read(root, SOURCE)
    ours = read(root, SOURCE.replace(*change))
    rows = compare(theirs, ours, resolve=lambda module, name: None)
    return {
        row.name: (row.state, row.detail) for row in rows
        if row.state != 'same'
    }


def test_read_interface_keeps_public_names(tmp_path):
    names = read(tmp_path, SOURCE)['wan.net']
    assert set(names) == {
        'LIMIT', 'Net', 'Net.names', 'Net.__init__', 'Net.forward', 'build'}
    assert names['LIMIT'] == 32
    assert names['Net'] == CLASS
    assert [str(p) for p in names['Net.forward'].parameters] == [
        'self', 'x', 'mask=None', 'dtype=torch.float32']


@pytest.mark.parametrize('change', [
    ('1e-6', '0.000001'),
    ('torch.float)', 'torch.float32)'),
    ('x: Tensor', 'x'),
    ('@register', '@amp.autocast(enabled=False)'),
    ('[1, 2]', '(1, 2)'),
    ('4 * 8', '32'),
    ('*args', '*more'),
    ('def _private(self)', 'def _other(self)'),
])
def test_same_in_other_words(tmp_path, change):
    assert differences(tmp_path, change) == {}


@pytest.mark.parametrize('change, name, detail', [
    (('LIMIT =', 'OTHER = 1\nLIMIT ='), 'OTHER', ''),
    (('mask=None', 'mask=None, ref=None'), 'Net.forward', '`ref=None` is new'),
    (('[1, 2]', '[1, 2], bias=True'), 'Net.__init__', '`bias=True` is new'),
    (('dim, ', 'dim=8, '), 'Net.__init__', '`dim` is `dim=8`'),
    (('-1, **', '-1, ref=None, **'), 'build', '`ref=None` is new'),
])
def test_added(tmp_path, change, name, detail):
    assert differences(tmp_path, change) == {name: ('added', detail)}


def test_keyword_only_may_become_positional(tmp_path):
    assert differences(tmp_path, ('x: Tensor, *, ', 'x, ')) == {}


@pytest.mark.parametrize('change, name, detail', [
    (('4 * 8', '33'), 'LIMIT', '32 -> 33'),
    (("'a', 'b'", "'a'"), 'Net.names', "('a', 'b') -> ('a',)"),
    (('1e-6', '1e-5'), 'Net.__init__', '`eps=1e-06` is `eps=1e-05`'),
    (('eps=1e-6, sizes=[1, 2]', 'sizes=[1, 2], eps=1e-6'), 'Net.__init__',
     'not there'),
    (('dim, ', 'width, '), 'Net.__init__', '`dim` is not there'),
    (('x: Tensor', 'x, y'), 'Net.forward', '`y` is new'),
    (('mask=None, ', ''), 'Net.forward', '`mask=None` is not there'),
    (('seed=-1', 'seed'), 'build', '`seed=-1` is `seed`'),
    (('*args, ', 'ref=None, *args, '), 'build', '`ref=None` is new'),
    ((', **kwargs', ''), 'build', '`**kwargs` is not there'),
    (('@register', '@staticmethod'), 'Net.__init__',
     'function -> staticmethod'),
    (('def build(*args, seed=-1, **kwargs)', 'class build'), 'build',
     '-> class'),
])
def test_changed(tmp_path, change, name, detail):
    found = differences(tmp_path, change)
    assert set(found) == {name}
    assert found[name][0] == 'changed'
    assert detail in found[name][1]


def test_left_out_method(tmp_path):
    found = differences(tmp_path, ('def forward', 'def apply'))
    assert found == {'Net.forward': ('left out', ''),
                     'Net.apply': ('added', '')}


def test_left_out_class_hides_what_it_held(tmp_path):
    found = differences(tmp_path, ('class Net(', 'class Network('))
    assert found == {'Net': ('left out', ''), 'Network': ('added', '')}


def test_missing_module_is_one_row(tmp_path):
    rows = compare(read(tmp_path, SOURCE), {})
    assert rows == [
        Row('wan.net', '', 'left out', '3 names inside', size=3)]
    assert compare({}, read(tmp_path, SOURCE))[0].state == 'added'


def test_inherited_methods_are_there():
    # BytesIO defines no `isatty`: it has it from a base
    assert imported('io', 'BytesIO.isatty') is not None
    assert imported('io', 'BytesIO') == CLASS
    assert imported('io', 'Nothing') is None
    assert imported('no_such_module', 'name') is None
    forward = imported('torch.nn', 'Linear.forward')
    assert [str(p) for p in forward.parameters] == ['self', 'input']


def test_a_stand_in_is_not_a_method():
    # every torch module has a `forward` that only raises
    assert imported('torch.nn', 'Module.forward') is None


def test_imported_property_and_default():
    assert imported('pathlib', 'Path.name').binding == 'property'
    sort = imported('torch.nn', 'GELU.__init__')
    assert [str(p) for p in sort.parameters] == ['self', "approximate='none'"]


def test_imported_dataclass_field():
    assert imported('tools.comparison', 'Row.group') is ANY
    assert imported('tools.comparison', 'Row.none') is None


def test_constant_set_in_a_try_block_has_no_one_value(tmp_path):
    source = 'try:\n    import x\n    HAS = True\nexcept E:\n    HAS = False\n'
    assert read(tmp_path, source)['wan.net'] == {'HAS': ANY}


def test_a_name_that_a_try_imports_is_no_constant(tmp_path):
    source = ('try:\n    from x import fast\n    HAS = 2\n'
              'except ImportError:\n    fast = None\n    HAS = None\n')
    assert read(tmp_path, source)['wan.net'] == {'HAS': ANY}


@pytest.mark.parametrize('test', [
    "__name__ == '__main__'", '__name__ == "__main__"',
    "'__main__' == __name__"])
def test_what_only_a_program_does_is_no_interface(tmp_path, test):
    source = f'if {test}:\n    a = 1\n    def f(): pass\nelse:\n    b = 2\n'
    assert read(tmp_path, source)['wan.net'] == {'b': 2}
    other = source.replace('__main__', 'wan.net')
    assert set(read(tmp_path, other)['wan.net']) == {'a', 'f', 'b'}


def test_package_exports(tmp_path):
    read(tmp_path, SOURCE)
    (tmp_path / 'wan/__init__.py').write_text(
        'import os\nfrom . import net\nfrom .net import Net\n'
        'from wan.net import build as make\n')
    assert read_interface(tmp_path)['wan'] == {'Net': ANY, 'make': ANY}
