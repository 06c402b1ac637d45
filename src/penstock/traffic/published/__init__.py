"""The generator of Kong et al. (IMC 2024), as published: the baseline that the default is measured against."""
