"""Sphinx configuration: MyST pages, no generated API dump."""

from penstock import __version__

project = "Penstock"
author = "the Penstock authors"
copyright = "2026, the Penstock authors"
version = release = __version__
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
exclude_patterns = ["_build"]
