"""The files of the live page, with the headers that bind a browser to them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

CONTENT_TYPES = {
    "dashboard.html": "text/html; charset=utf-8",
    "dashboard.css": "text/css; charset=utf-8",
    "metrics.js": "text/javascript; charset=utf-8",
    "charts.js": "text/javascript; charset=utf-8",
    "dashboard.js": "text/javascript; charset=utf-8",
}

HEADERS = {
    # The page loads its own files and asks its own server; nothing inline, nothing from elsewhere, in no frame.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@cache
def dashboard_file(path: str) -> tuple[bytes, str] | None:
    """The body and content type of ``/dashboard`` or ``/dashboard/NAME``; None for any other path.

    Only the names of :data:`CONTENT_TYPES` are files, so no path leads out of the package.
    """
    name = "dashboard.html" if path == "/dashboard" else path.removeprefix("/dashboard/")
    if name not in CONTENT_TYPES or not path.startswith("/dashboard"):
        return None
    body = files("penstock.serve.dashboard").joinpath("static", name).read_bytes()
    return body, CONTENT_TYPES[name]
