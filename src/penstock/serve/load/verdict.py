"""What a run of the load generator needs around it: a complete URL, a server that is ready, causes, and a verdict."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import aiohttp

from penstock.errors import BadInputError, MissedRequirementError
from penstock.serve.load.access import NO_SECRETS, Access
from penstock.serve.load.client import NO_ANSWER

BETWEEN_ASKS_S = 0.2
ANSWERED = 200

_MEANING = {
    NO_ANSWER: "no answer: the connection broke, or nothing came in time",
    400: "400: a bad request",
    401: "401: the server asks for a token (--token-file)",
    404: "404: no such model",
    413: "413: too large a body",
    429: "429: too many requests",
    500: "500: the model failed",
    503: "503: not ready, or too much waits",
    504: "504: the deadline could not be met",
}


def with_scheme(url: str) -> str:
    """``url`` with ``http://`` before it if it has no scheme: people type HOST:PORT."""
    return url if "://" in url else f"http://{url}"


async def until_ready(url: str, seconds: float, access: Access = NO_SECRETS) -> None:
    """Return when the server at ``url`` says that it is ready. Its 503 before that are not answers to a load.

    :class:`BadInputError` if it does not within ``seconds``, with what it said last. Servers of other protocols than
    HTTP are not asked.
    """
    if not url.startswith(("http://", "https://")):
        return
    until, last = time.monotonic() + seconds, ""
    timeout = aiohttp.ClientTimeout(total=5.0)
    connector = aiohttp.TCPConnector(ssl=access.tls() if url.startswith("https://") else True)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, headers=access.headers) as session:
        while True:
            try:
                async with session.get(f"{url.rstrip('/')}/v2/health/ready") as response:
                    if response.status == ANSWERED:
                        return
                    last = f"it answers {response.status}"
            except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
                last = str(error) or type(error).__name__
            if time.monotonic() >= until:
                raise BadInputError(
                    f"{url}: not ready after {seconds:g} s ({last}). Is the server up, and its URL right "
                    f"(http://HOST:PORT)? --wait gives it more time."
                )
            await asyncio.sleep(BETWEEN_ASKS_S)


def causes(statuses: Mapping[str, int]) -> list[str]:
    """How many answers of each kind, in words, most first."""
    ordered = sorted(statuses.items(), key=lambda one: -one[1])
    return [
        f"{count} x {'200' if status == str(ANSWERED) else _MEANING.get(int(status), status)}"
        for status, count in ordered
    ]


def check_load(attainments: Mapping[str, float], statuses: Mapping[int, int], require: float | None) -> None:
    """Raise :class:`MissedRequirementError` if nothing was answered, or a model's attainment is below ``require``."""
    if statuses and not statuses.get(ANSWERED):
        raise MissedRequirementError(
            f"no request was answered with a result ({'; '.join(causes({str(s): n for s, n in statuses.items()}))})."
        )
    missed = {name: share for name, share in attainments.items() if require is not None and share < require}
    if missed and require is not None:
        found = ", ".join(f"{name} {share:.2%}" for name, share in missed.items())
        raise MissedRequirementError(f"--require {require:.4g}: attainment of {found}.")
