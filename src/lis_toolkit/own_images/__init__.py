"""Images of one's own: folders, files, arrays and data sets as one collection, and their features in a folder."""

from .extraction import SkippedImages, extract_to_folder
from .photographs import load_photographs
from .sources import ImageSource, UnreadableImage, open_images
from .store import FeatureStore

__all__ = [
    "FeatureStore",
    "ImageSource",
    "SkippedImages",
    "UnreadableImage",
    "extract_to_folder",
    "load_photographs",
    "open_images",
]
