r"""The recipe of the embedded model: VAE, latents, then transformer and T5."""
