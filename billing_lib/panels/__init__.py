"""ipywidgets for the notebooks: plain classes, testable without a browser."""

from billing_lib.settings import spare_iri_parsers

spare_iri_parsers()  # a kernel with panels is the office's
