"""A whole page within a notebook, with nothing of either reaching the other."""

from html import escape


def framed(page: str, title: str) -> str:
    """An HTML page in a frame of its own: its style stays its own and its scripts do not run."""
    style = "width: 100%; height: 46em; border: 1px solid #c8ced6; background: #fff"
    return (
        f'<iframe title="{escape(title)}" sandbox="" style="{style}" '
        f'srcdoc="{escape(page)}"></iframe>'
    )
