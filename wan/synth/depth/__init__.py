r"""The world in depth: solids that turn, are lit and stand before others."""
from .render import (
    depth_map,
    depth_mask,
    hidden_mask,
    render_depth_background,
    render_depth_clip,
    render_solid,
    solid_map,
)
from .sampling import anchored, any_side, sample_depth_clip, view_set
from .scene import DepthClip, DepthMotion, Room, Solid, Stand, Thing

__all__ = [
    'DepthClip',
    'DepthMotion',
    'Room',
    'Solid',
    'Stand',
    'Thing',
    'anchored',
    'any_side',
    'depth_map',
    'depth_mask',
    'hidden_mask',
    'render_depth_background',
    'render_depth_clip',
    'render_solid',
    'sample_depth_clip',
    'solid_map',
    'view_set',
]
