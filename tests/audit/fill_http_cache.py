"""Fills the crate validator's HTTP cache with the one document that it needs, without a network.

    python fill_http_cache.py CACHE CONTEXT-FILE

Run by the Python that has the validator; the tests' own has none of its packages.
"""

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests_cache import CachedSession
from urllib3 import HTTPResponse

CONTEXT = "https://w3id.org/ro/crate/1.1/context"


class ContextFile(HTTPAdapter):
    """Answers any request with a file."""

    def send(self, request: PreparedRequest, *_args: Any, **_more: Any) -> Response:
        """The answer that w3id.org gives."""
        raw = HTTPResponse(
            body=BytesIO(Path(sys.argv[2]).read_bytes()),
            headers={"Content-Type": "application/ld+json"},
            status=200,
            preload_content=False,
            request_url=request.url,
        )
        return self.build_response(request, raw)


if __name__ == "__main__":
    session = CachedSession(cache_name=sys.argv[1], backend="sqlite", expire_after=-1)
    session.mount("https://", ContextFile())
    if not session.get(CONTEXT).json()["@context"]:
        sys.exit("the context is empty")
    session.close()
