"""Rectified-flow image models: latents, noise, samplers, conditions and adapter files."""
