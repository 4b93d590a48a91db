"""Files to keep, in a panel: links that hold their content, so that no server is asked for them."""

from base64 import b64encode
from collections.abc import Mapping
from html import escape
from mimetypes import guess_type


def keep(files: Mapping[str, bytes]) -> str:
    """A line of links, one to each file, by its name."""
    links = " ".join(_link(name, content) for name, content in files.items())
    return f"<p>Keep it: {links}</p>"


def _link(name: str, content: bytes) -> str:
    kind = guess_type(name)[0] or "application/octet-stream"
    text = b64encode(content).decode("ascii")
    return (
        f'<a download="{escape(name)}" href="data:{kind};base64,{text}" '
        f'style="text-decoration: underline; margin-right: 1em">{escape(name)}</a>'
    )
