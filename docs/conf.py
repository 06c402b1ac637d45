"""Sphinx configuration: MyST pages, and the reference of the Python door from its docstrings."""

from penstock import __version__

project = "Penstock"
author = "the Penstock authors"
copyright = "2026, the Penstock authors"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
exclude_patterns = ["_build"]
