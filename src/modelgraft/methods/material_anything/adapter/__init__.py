"""Stock networks carry the method: three heads on a U-Net of Stable Diffusion."""
