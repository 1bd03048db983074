r"""The template's own frames, read and written as they are stored.

Streaming: memory does not grow with the length. Files from strangers are
decoded by ffmpeg in a process of its own; what is encoded here is ours.
"""
from wan.footage.codecs import CODECS
from wan.footage.footage import Footage
from wan.footage.measure import Changed
from wan.footage.patch import Patch
from wan.footage.write import Writing, plan_writing, write_footage

__all__ = ['CODECS', 'Changed', 'Footage', 'Patch', 'Writing', 'plan_writing',
           'write_footage']
