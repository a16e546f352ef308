"""The address of a server, and what every request to it carries."""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from reasoner.errors import UsageError
from reasoner.system.redaction import shown_address


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """Where a server is, without user name and password, and how it is reached; `secrets` must not be shown."""

    base_url: str
    headers: Mapping[str, str]
    proxy: str | None
    secrets: tuple[str, ...]

    @classmethod
    def of(cls, base_url: str, api_key: str) -> "Address":
        """The address with a key, which is OPENAI_API_KEY where there is none and the address has no password.

        Raises:
            UsageError: `base_url` is not an HTTP address, or the key cannot be sent.
        """
        url = _split(base_url)
        if url is None:
            shown = shown_address(base_url)
            raise UsageError(f"base_url={shown!r} is not an HTTP address: write it as in http://localhost:8000/v1")
        name, _, password = url.netloc.rpartition("@")[0].partition(":")
        key = api_key.strip()
        if not key and not name and not password:
            key = os.environ.get("OPENAI_API_KEY", "").strip()
        if not (key.isascii() and key.isprintable()):
            raise UsageError("the api_key has characters that an HTTP header cannot hold: copy it again")
        basic = f"{unquote(name)}:{unquote(password)}" if name or password else ""
        host, proxies = url.netloc.rpartition("@")[2], getproxies()
        proxy = None if proxy_bypass(host) else proxies.get(url.scheme) or proxies.get("all")
        proxied = urlsplit(proxy or "").password or ""
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        elif basic:
            headers["Authorization"] = f"Basic {base64.b64encode(basic.encode()).decode()}"
        secrets = (key, password, unquote(password), basic, proxied, unquote(proxied))
        return cls(url._replace(netloc=host).geturl(), headers, proxy, secrets)

    def url(self, path: str) -> str:
        """Where a path is: those that OpenAI does not define are beside /v1 on a vLLM server."""
        if path.startswith("/v1/"):
            return self.base_url + path.removeprefix("/v1")
        return self.base_url.removesuffix("/v1") + path


def _split(address: str) -> SplitResult | None:
    """The parts of an HTTP address; None where it is not one."""
    try:
        url = urlsplit(address.strip().rstrip("/"))
        # A part of a name that is too long is found by its encoding, a UnicodeError.
        host = (url.hostname or "").encode("idna")
        valid = url.scheme in ("http", "https") and host and url.port != 0 and not (url.query or url.fragment)
    except ValueError:
        return None
    return url if valid else None
