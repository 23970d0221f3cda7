"""Who may send to the node, and to whom it sends, as the command line writes them."""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from flare_infer.errors import UsageError

_LONGEST_TITLE: Final = 16
_MOST_CREDENTIAL_BYTES: Final = 16_384

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Peer:
    """One entry of the allow-list.

    Attributes:
        title: the AE title it calls itself; None for any.
        networks: the addresses it may come from.
    """

    title: str | None
    networks: tuple[Network, ...]

    def is_at(self, address: str) -> bool:
        """Whether it may come from an address."""
        return any(_address(address) in network for network in self.networks)


LOOPBACK: Final = Peer(None, (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")))
"""Anyone on this machine: the allow-list where none is given."""


def peer_of(text: str, place: str = "--allow") -> Peer:
    """An entry of the allow-list as `AET@ADDRESS`.

    Args:
        text: an AE title, or `*` for any; then an IP address, a network such as `10.1.0.0/16`, or the name of a host,
            which is looked up once.
        place: where it was given, for the error.

    Raises:
        UsageError: if it is not of that form, or nothing is known of the host.
    """
    title, at, where = text.rpartition("@")
    if not at or not where:
        raise UsageError(f"{place} {text}: expected AET@ADDRESS, such as SCANNER1@10.1.2.3 or *@10.1.0.0/16")
    return Peer(None if title == "*" else title_of(title, place), tuple(_networks(where, place)))


def title_of(text: str, place: str) -> str:
    """An AE title: 1 to 16 letters of ASCII, without a backslash (PS3.5, 6.2).

    Args:
        text: what was given; spaces at its ends do not count.
        place: where it was given, for the error.

    Raises:
        UsageError: if it is none.
    """
    title = text.strip(" ")
    if not (0 < len(title) <= _LONGEST_TITLE and title.isascii() and title.isprintable()) or "\\" in title:
        raise UsageError(f"{place} {text}: an AE title has 1 to 16 printable characters of ASCII and no backslash")
    return title


def admitted(peers: Sequence[Peer], address: str, title: str | None = None) -> bool:
    """Whether an allow-list holds somebody.

    Args:
        peers: the list.
        address: the IP address somebody comes from.
        title: the AE title; None as long as it is not known.
    """
    return any(peer.is_at(address) and (title is None or peer.title in {None, title}) for peer in peers)


@dataclass(frozen=True)
class DicomTarget:
    """An archive that takes results by C-STORE.

    Attributes:
        title: its AE title.
        host: its name or IP address.
        port: its port.
        tls: whether it speaks TLS, with a certificate of that host.
    """

    title: str
    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'dicoms' if self.tls else 'dicom'}://{self.title}@{host}:{self.port}"


@dataclass(frozen=True)
class WebTarget:
    """An archive that takes results by STOW-RS; the address ends in `/studies`."""

    url: str

    def __str__(self) -> str:
        return self.url


Target: TypeAlias = DicomTarget | WebTarget


def target_of(text: str, place: str = "--send-to") -> Target:
    """A target as `dicom://AET@host:port`, `dicoms://` for TLS, or `https://host/path/studies`.

    Args:
        text: what was given; `http://` is taken for this machine only.
        place: where it was given, for the error.

    Raises:
        UsageError: if it is none of these.
    """
    wanted = "expected dicom://AET@host:port, dicoms://AET@host:port, or https://host/path/studies"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{place} {text}: {wanted}") from error
    if parts.scheme in {"dicom", "dicoms"} and host and port and not parts.path.strip("/"):
        title = title_of(parts.netloc.rpartition("@")[0], place)
        return DicomTarget(title, host, port, tls=parts.scheme == "dicoms")
    if parts.scheme not in {"http", "https"} or not host or not parts.path.rstrip("/").endswith("/studies"):
        raise UsageError(f"{place} {text}: {wanted}")
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError(
            f"{place}: no user, password, query or fragment in the address; send_auth in the file of --dicom-settings "
            "names a file with a password or a token"
        )
    if parts.scheme == "http" and not _is_this_machine(host):
        raise UsageError(
            f"{place} {text}: results name the patient, and http:// goes readable over the network; use https:// "
            "(http:// is for this machine only, such as http://127.0.0.1)"
        )
    return WebTarget(text.rstrip("/"))


def authorization_of(path: Path, place: str) -> str:
    """The value of the header Authorization that a file stands for.

    Args:
        path: a file of one line: a token, or `user:password`.
        place: where the file was named, for the error.

    Raises:
        UsageError: if it cannot be read, or holds anything else.
    """
    import base64

    try:
        with path.open("rb") as file:
            line = file.read(_MOST_CREDENTIAL_BYTES).strip()
    except OSError as error:
        raise UsageError(
            f"{place}: {path} cannot be read ({error.strerror}); name a file of one line, a token or user:password"
        ) from error
    if not line or any(byte < 0x20 for byte in line):
        raise UsageError(f"{place}: {path} must hold one line, a token or user:password")
    if b":" in line:
        return f"Basic {base64.b64encode(line).decode('ascii')}"
    if not line.isascii():
        raise UsageError(f"{place}: {path} holds a token that is not of ASCII")
    return f"Bearer {line.decode('ascii')}"


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address; one of IPv4 in the clothes of IPv6, as a socket for both shows it, is one of IPv4."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _networks(where: str, place: str) -> list[Network]:
    try:
        return [ipaddress.ip_network(where, strict=False)]
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(where, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{place} {where}: no IP address, no network, and no host that is known") from error
    return [ipaddress.ip_network(_address(str(one[4][0]))) for one in found]
