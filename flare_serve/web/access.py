"""Who may use the service: everybody on this machine, or whoever knows the token."""

import hashlib
import hmac
import ipaddress
import secrets
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from flare_infer.errors import UsageError

COOKIE: Final = "flare_session"
SESSION_SECONDS: Final = 12 * 3600

_LEAST_TOKEN: Final = 16
_MOST_TOKEN_BYTES: Final = 4096
_LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may use the service.

    Attributes:
        token: what a client has to know; None if none is needed, and then only names of this machine are served.
        names: further names of hosts under which the service is asked for, in lower case.
        token_file: the file of the token; None if it is in none.
    """

    token: str | None = field(default=None, repr=False)
    names: frozenset[str] = frozenset()
    token_file: Path | None = None

    def serves(self, host: str) -> bool:
        """Whether the service answers to a name; else any page could reach it by a name that leads to this machine.

        Args:
            host: the header of that name, with or without a port.
        """
        name = host.lower().rpartition(":")[0] if not host.endswith("]") and ":" in host else host.lower()
        return name in self.names | _LOCAL_NAMES or (self.token is not None and not self.names)

    def knows(self, authorization: str, cookie: str) -> bool:
        """Whether a request may be answered.

        Args:
            authorization: the header of that name; empty if there is none.
            cookie: the value of the cookie of a session; empty if there is none.
        """
        if self.token is None:
            return True
        kind, _, given = authorization.partition(" ")
        if kind.lower() == "bearer":
            return self.is_token(given.strip())
        expiry, _, _ = cookie.partition(".")
        return expiry.isdigit() and int(expiry) > time.time() and _equal(cookie, self._session(expiry))

    def is_token(self, given: str) -> bool:
        """Whether a text is the token."""
        return self.token is None or _equal(given, self.token)

    def new_session(self) -> str:
        """The value of a cookie that stands for the token, for some hours."""
        return self._session(str(round(time.time()) + SESSION_SECONDS))

    def _session(self, expiry: str) -> str:
        key = (self.token or "").encode()
        return f"{expiry}.{hmac.new(key, f'session until {expiry}'.encode(), hashlib.sha256).hexdigest()}"


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        UsageError: if it cannot be read, or is too short to be a secret.
    """
    try:
        with path.open("rb") as file:
            token = file.read(_MOST_TOKEN_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise UsageError(f"{path}: cannot be read as a token ({why}); write one line of ASCII into it") from error
    if len(token) < _LEAST_TOKEN or any(character.isspace() for character in token):
        raise UsageError(
            f"{path}: expected one word of at least {_LEAST_TOKEN} characters; openssl rand -hex 32 makes one"
        )
    return token


def others_may_read(path: Path) -> bool:
    """Whether accounts may read a file that are neither its owner nor of its group."""
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def make_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(32)


def is_loopback(address: str) -> bool:
    """Whether an address is of this machine only."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())
