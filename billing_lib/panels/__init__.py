"""ipywidgets for the notebooks: plain classes, testable without a browser."""
