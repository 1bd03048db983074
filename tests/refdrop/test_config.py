r"""The settings: what is allowed, and which layers and steps they mean."""
import pytest

from wan.refdrop.config import RefConfig

JOINT = {'ref_gate': 'joint'}


@pytest.mark.parametrize('text, depth, layers', [
    ('all', 4, {0, 1, 2, 3}),
    ('deep', 30, set(range(15, 30))),
    ('middle', 30, set(range(10, 20))),
    ('10-12', 30, {10, 11, 12}),
    ('0, 3,7-8', 30, {0, 3, 7, 8}),
    ('2-9', 4, {2, 3}),
    ('', 30, set()),
])
def test_layers(text, depth, layers):
    assert RefConfig(ref_layers=text).layers(depth) == layers


def test_steps_are_a_share():
    half = RefConfig(ref_steps='0.5-1')
    assert [half.active(i, 4) for i in range(4)] == [False, False, True, True]
    assert all(RefConfig().active(i, 7) for i in range(7))


def test_sigmas():
    assert RefConfig(ref_t='0.3,0.6').sigmas == (.3, .6)
    assert RefConfig(ref_t='match').matched
    assert RefConfig(ref_t='0').sigmas == (0.,)


def test_the_source_never_reads_but_to_reproduce_the_failure():
    for mode in ('target', 'both', 'split'):
        assert 'q' not in RefConfig(ref_branches=mode).reading
    assert 'q' in RefConfig(ref_branches='all').reading


def test_one_weight_is_shared_by_the_photos_of_a_product():
    assert RefConfig(ref_c=(.4,)).shared(4).ref_c == (.1,) * 4
    for ref in (RefConfig(ref_c=(.3, .2)), RefConfig(ref_c=(1.,), **JOINT)):
        assert ref.shared(2) is ref


def test_a_joint_gate_has_one_weight():
    RefConfig(ref_c=(.3, .2)).check_photos(2)
    for c, photos in (((1.,), (1, 2, 5)), ((.3, .3), (2,))):
        for number in photos:
            RefConfig(ref_c=c, **JOINT).check_photos(number)
    for ref in (RefConfig(ref_c=(.3, .3), **JOINT), RefConfig()):
        with pytest.raises(ValueError, match='3 product photos need'):
            ref.check_photos(3)


@pytest.mark.parametrize('changes, message', [
    ({'ref_c': (1.5,)}, 'ref_c'),
    ({'ref_c': ()}, 'ref_c'),
    ({'ref_c': (.6, .6)}, 'sum at most 1'),
    ({'ref_branches': 'some'}, 'target, both, split, all'),
    ({'ref_rope': 'spiral'}, 'ref_rope'),
    ({'ref_stats': 'on'}, 'ref_stats'),
    ({'ref_gate': 'open'}, 'open., allowed: constant, joint'),
    ({**JOINT, 'ref_c': (.3, .2)}, r'weighs all photos alike, .* \(0.3, 0.2'),
    ({**JOINT, 'ref_c': (.3, 0.)}, 'weighs all photos alike'),
    ({**JOINT, 'ref_rope': 'spatial'}, 'spatial changes; allowed: grid, off'),
    ({**JOINT, 'ref_rope': 'none'}, "the video's own rotation"),
    ({**JOINT, 'ref_rope': 'box'}, "the video's own rotation"),
    ({**JOINT, 'ref_stats': 'norm'}, 'ref_stats norm could match'),
    ({'ref_steps': '0.7-0.2'}, 'ref_steps'),
    ({'ref_steps': '0.7'}, 'ref_steps'),
    ({'ref_t': '1.5'}, 'ref_t'),
    ({'ref_t': 'now'}, 'ref_t'),
    ({'ref_layers': 'top'}, 'ref_layers'),
])
def test_bad_values(changes, message):
    with pytest.raises(ValueError, match=message):
        RefConfig(**changes)
