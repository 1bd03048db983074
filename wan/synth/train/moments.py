r"""Clips of one frame that look like others at one of their moments."""
import math
from dataclasses import replace

from ..depth import DepthClip, DepthMotion
from ..scene import Clip, Motion, Pose


def frozen(clip: Clip, time: float) -> Clip:
    r"""A clip of one frame that looks like another at one of its moments.

    The camera's place and zoom go into the scene. Only the light on the
    surface stays as it is in the middle, where it is hardly another.

    Args:
        time: from -0.5, the first frame, to 0.5, the last.
    """
    motion, middle, scene = clip.motion, clip.motion.middle, clip.scene
    x, y = motion.pan_x * time, motion.pan_y * time
    zoom = math.exp(motion.zoom * time)
    pose = Pose((middle.x + motion.dx * time - x) * zoom,
                (middle.y + motion.dy * time - y) * zoom,
                middle.angle + motion.turn * time,
                middle.size * math.exp(motion.growth * time) * zoom)
    props = tuple(replace(prop, x=(prop.x - x) * zoom, y=(prop.y - y) * zoom,
                          size=prop.size * zoom) for prop in scene.props)
    cos, sin = math.cos(scene.angle), math.sin(scene.angle)
    scene = replace(scene, props=props, scale=scene.scale * zoom,
                    x=scene.x + (cos * x + sin * y) / scene.scale,
                    y=scene.y + (cos * y - sin * x) / scene.scale)
    return replace(clip, scene=scene, motion=Motion(pose), frames=1)


def frozen_in_depth(clip: DepthClip, time: float) -> DepthClip:
    r"""The same of a clip in depth, but that the camera's way is left out."""
    motion, middle = clip.motion, clip.motion.middle
    stand = replace(
        middle, x=middle.x + motion.dx * time, z=middle.z + motion.dz * time,
        yaw=middle.yaw + motion.turn * time,
        roll=middle.roll + motion.roll * time,
        size=middle.size * math.exp(motion.growth * time))
    things = tuple(replace(thing, x=thing.x + thing.dx * time, dx=0.)
                   for thing in clip.room.things)
    return replace(clip, room=replace(clip.room, things=things),
                   motion=DepthMotion(stand), frames=1)
