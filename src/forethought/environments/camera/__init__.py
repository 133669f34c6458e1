"""Environments that are seen: images in the place of numbers."""

from forethought.environments.camera.lens import Lens, aimed
from forethought.environments.camera.seen import Seen
from forethought.environments.camera.stack import Stack

__all__ = ["Lens", "Seen", "Stack", "aimed"]
