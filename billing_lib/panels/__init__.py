"""The notebooks' panels: plain classes around ipywidgets, testable without a browser.

JupyterLab shows a panel's ``widget``; a page without a kernel shows HTML in its place.
"""

from billing_lib.program import spare_iri_parsers

spare_iri_parsers()  # kernels with panels are the program's own
