"""The portal: read-only pages for labs, and their server."""
