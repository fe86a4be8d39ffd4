"""StyleGAN-XL and StyleGAN3 generators."""

from lis_toolkit.stylegan.checkpoint import load_generator, save_generator
from lis_toolkit.stylegan.generator import Generator, update_mean_latents
from lis_toolkit.stylegan.geometry import Architecture, GeneratorConfig
from lis_toolkit.stylegan.truncation import latent_centroids

__all__ = [
    "Architecture",
    "Generator",
    "GeneratorConfig",
    "latent_centroids",
    "load_generator",
    "save_generator",
    "update_mean_latents",
]
