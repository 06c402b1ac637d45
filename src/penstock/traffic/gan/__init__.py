"""A GAN in the manner of DoppelGANger: a baseline for comparison."""
