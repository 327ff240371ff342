"""Sphinx configuration of the documentation: `nox -s docs`."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "rosey-dbsvc"
author = "the authors of rosey-dbsvc"
project_copyright = author
release = version = metadata.version("rosey-dbsvc")

extensions = ["myst_parser", "sphinx.ext.autodoc", "operations"]
html_theme = "furo"
html_title = f"rosey-dbsvc {release}"
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

nitpicky = True
nitpick_ignore_regex = [  # documented elsewhere, or shown in a signature and never called
    ("py:class", r"(anyio|collections|nats|os)\..*"),
    ("py:class", r"dict\[str"),
    ("py:class", r"rosey_dbsvc\.storage\.protocol\.Storage"),
]
default_role = "code"  # for `name` in a docstring
autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
