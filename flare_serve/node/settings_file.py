"""The settings of a node from the options of the command and a file in TOML, in which there are some more."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar, cast

from flare_infer.errors import UsageError
from flare_serve.node.addresses import LOOPBACK, authorization_of, peer_of, target_of, title_of
from flare_serve.node.settings import FORMS, Form, Limits, NodeSettings, Retries

_MIB: Final = 2**20
_MOST_BYTES: Final = 2**20
_DEFAULTS: Final = NodeSettings()

Values: TypeAlias = Mapping[str, Any]
_Kind: TypeAlias = type | tuple[type, ...]

_Part = TypeVar("_Part", Limits, Retries)
_NUMBER: Final = (int, float)
_KEYS: Final[Mapping[str, _Kind]] = {
    "title": str,
    "address": str,
    "port": int,
    "allow": list,
    "quiet_seconds": _NUMBER,
    "released_seconds": _NUMBER,
    "late_seconds": _NUMBER,
    "send_to": list,
    "send_forms": list,
    "send_auth": str,
    "tls_certificate": str,
    "tls_key": str,
    "limits": dict,
    "retries": dict,
}
_LIMITS: Final[Mapping[str, _Kind]] = {
    "associations": int,
    "instance_mib": int,
    "series_mib": int,
    "series_instances": int,
    "open_series": int,
    "idle_seconds": _NUMBER,
}
_RETRIES: Final[Mapping[str, _Kind]] = {
    "first_seconds": _NUMBER,
    "longest_seconds": _NUMBER,
    "for_hours": _NUMBER,
    "timeout_seconds": _NUMBER,
}


@dataclass(frozen=True, kw_only=True)
class NodeOptions:
    """What the command line says of a node.

    Attributes:
        port: its port; None if it is not said.
        title: its AE title; None if it is not said.
        allow: entries of the allow-list, besides those of the file.
        quiet_seconds: when a series is complete; None if it is not said.
        send_to: targets, besides those of the file.
        file: a file of settings; None if there is none.
    """

    port: int | None = None
    title: str | None = None
    allow: Sequence[str] = ()
    quiet_seconds: float | None = None
    send_to: Sequence[str] = ()
    file: Path | None = None


def node_settings(options: NodeOptions, free_bytes: int) -> NodeSettings | None:
    """The settings of a node, checked; None if neither a port nor a file asks for one.

    Args:
        options: what the command line says.
        free_bytes: what must stay free on the disk of the spool.

    Raises:
        UsageError: if something is not as it should be, or options ask for a node without a port.
    """
    if options.port is None and options.file is None:
        if options.title or options.allow or options.send_to or options.quiet_seconds is not None:
            raise UsageError(
                "--allow, --send-to, --dicom-title and --quiet-seconds are of a DICOM node: add --dicom-port"
            )
        return None
    said = {} if options.file is None else _read(options.file)
    found = _of_values(said, options, options.file.parent if options.file else Path())
    found = replace(found, limits=replace(found.limits, free_bytes=free_bytes))
    if found.peers == (LOOPBACK,) and not LOOPBACK.is_at(found.host):
        raise UsageError(
            f"the DICOM node listens on {found.host}, but nobody may send from there: add --allow AET@ADDRESS"
        )
    return found


def _of_values(said: Values, options: NodeOptions, folder: Path) -> NodeSettings:
    peers = tuple(peer_of(entry) for entry in (*_texts(said, "allow"), *options.allow))
    targets = tuple(target_of(entry) for entry in dict.fromkeys((*_texts(said, "send_to"), *options.send_to)))
    secret = said.get("send_auth")
    return NodeSettings(
        title=title_of(options.title or said.get("title", _DEFAULTS.title), "--dicom-title"),
        host=_address(said.get("address", _DEFAULTS.host)),
        port=_port(said.get("port", _DEFAULTS.port) if options.port is None else options.port),
        peers=peers or (LOOPBACK,),
        quiet_seconds=_seconds(said, "quiet_seconds", _DEFAULTS.quiet_seconds, options.quiet_seconds),
        released_seconds=_seconds(said, "released_seconds", _DEFAULTS.released_seconds),
        late_seconds=_seconds(said, "late_seconds", _DEFAULTS.late_seconds),
        targets=targets,
        forms=_forms(_texts(said, "send_forms")),
        authorization=None if secret is None else authorization_of(folder / secret, targets),
        limits=_limits(said.get("limits", {})),
        retries=_retries(said.get("retries", {})),
        tls=_tls(said, folder),
    )


def _read(path: Path) -> Values:
    """The values of a file, of which each is known and of its kind."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES)
        said = tomllib.loads(content.decode())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); see --dicom-settings") from error
    except ValueError as error:
        raise UsageError(f"{path}: is no TOML ({error})") from error
    _check(path, said, _KEYS, "")
    _check(path, said.get("limits", {}), _LIMITS, "limits.")
    _check(path, said.get("retries", {}), _RETRIES, "retries.")
    return said


def _check(path: Path, said: Values, known: Mapping[str, _Kind], place: str) -> None:
    for key, value in said.items():
        if key not in known:
            raise UsageError(f"{path}: {place}{key} is not known; known are {', '.join(known)}")
        if isinstance(value, bool) or not isinstance(value, known[key]):
            raise UsageError(f"{path}: {place}{key} is of the wrong kind ({type(value).__name__})")
        if isinstance(value, _NUMBER) and not 0 <= value <= 1e9:
            raise UsageError(f"{path}: {place}{key} = {value} is out of range")


def _texts(said: Values, key: str) -> list[str]:
    values = said.get(key, [])
    if not all(isinstance(value, str) for value in values):
        raise UsageError(f"{key}: expected a list of texts")
    return list(values)


def _seconds(said: Values, key: str, default: float, first: float | None = None) -> float:
    return float(said.get(key, default) if first is None else first)


def _port(port: int) -> int:
    if not 0 <= port <= 65_535:
        raise UsageError(f"port {port}: expected a number from 0 to 65535")
    return port


def _address(text: str) -> str:
    import ipaddress

    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise UsageError(f"address {text}: expected an IP address to listen on, such as 0.0.0.0 for all") from error


def _forms(texts: Sequence[str]) -> tuple[Form, ...]:
    if unknown := [text for text in texts if text not in FORMS]:
        raise UsageError(f"send_forms: {unknown[0]} is not known; known are {', '.join(FORMS)}")
    return cast(tuple[Form, ...], tuple(dict.fromkeys(texts))) or _DEFAULTS.forms


def _limits(said: Values) -> Limits:
    return _changed(Limits(), said, {"instance_mib": ("instance_bytes", _MIB), "series_mib": ("series_bytes", _MIB)})


def _retries(said: Values) -> Retries:
    return _changed(Retries(), said, {"for_hours": ("for_seconds", 3600.0)})


def _changed(defaults: _Part, said: Values, units: Mapping[str, tuple[str, float]]) -> _Part:
    changes: dict[str, Any] = {}
    for key, value in said.items():
        name, unit = units.get(key, (key, 1))
        changes[name] = value * unit
    return replace(defaults, **changes)


def _tls(said: Values, folder: Path) -> tuple[Path, Path] | None:
    files = [folder / said[key] for key in ("tls_certificate", "tls_key") if key in said]
    if len(files) == 1:
        raise UsageError("tls_certificate and tls_key: give both or neither")
    return (files[0], files[1]) if files else None
