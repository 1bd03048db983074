r"""What a product looks like from above."""
import math

import pytest
import torch

from wan.product.plan import ROUND, Plan, plan_of

BOX = Plan(.4, .3, True)
ACROSS = torch.linspace(-.99, .99, 101)


def rows(width, foot=None):
    r"""Widths of 60 rows, the lowest ones another."""
    widths = torch.full((60,), float(width))
    widths[-2:] = width if foot is None else foot
    return widths


@pytest.mark.parametrize('plan', [ROUND, BOX])
@pytest.mark.parametrize('yaw', [0., .6, -1.9, math.pi / 2, 3.])
def test_what_is_seen_is_where_it_is_seen(plan, yaw):
    r"""And it faces the camera."""
    points = plan.points(ACROSS, yaw)
    across, facing = plan.seen(points, yaw)
    assert torch.allclose(across, ACROSS, atol=1e-4)
    assert (facing > -1e-5).all()


def test_a_boxs_faces():
    assert BOX.half(0.) == pytest.approx(.4)
    assert BOX.half(-math.pi / 2) == pytest.approx(.3)
    points = BOX.points(ACROSS, -math.pi / 2)  # to the left: its right side
    assert torch.allclose(points.x, torch.tensor(.4))
    assert (points.right == 1).all()
    # Turned to the right by 45 degrees both the front and the left side show.
    points = BOX.points(ACROSS, math.pi / 4)
    assert (points.front[-50:] == 1).all() and (points.right[:30] == -1).all()


def test_a_box_is_told_by_its_foot_and_measured_by_its_views():
    turns = [0., 2.1, 4.2]
    plan = plan_of([rows(120 * BOX.half(turn)) for turn in turns], turns)
    assert plan.box and plan.deep / plan.wide == pytest.approx(.75, abs=.02)
    assert plan_of([rows(48, 20), rows(48, 20)], [0., 1.5]) is ROUND
    # One side, or one from behind, says nothing of the depth.
    assert plan_of([rows(48)], [0.]) is ROUND
    assert plan_of([rows(48), rows(48)], [0., math.pi]) is ROUND
    tapered = torch.linspace(20, 60, 60)
    assert plan_of([tapered, tapered], [0., 1.5]) is ROUND
