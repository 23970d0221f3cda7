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
_MOST: Final = 1e9
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
_AT_LEAST_1: Final = {*_LIMITS, *_RETRIES} - {"for_hours"}
"""Keys of which 0 would mean that nothing is ever taken, or that an archive is asked without a pause."""


@dataclass(frozen=True)
class _Said:
    """What the file says.

    Attributes:
        path: the file; None if there is none, and then it says nothing.
        values: by key.
    """

    path: Path | None
    values: Values

    @property
    def folder(self) -> Path:
        """Where paths in the file begin."""
        return self.path.parent if self.path else Path()

    def place(self, key: str) -> str:
        """Where a value is, for errors."""
        return f"{self.path}: {key}"

    def texts(self, key: str) -> list[str]:
        """A list of texts; empty if the file does not say it.

        Raises:
            UsageError: if anything else is in the list.
        """
        values = self.values.get(key, [])
        if not all(isinstance(value, str) for value in values):
            raise UsageError(f"{self.place(key)}: expected a list of texts")
        return list(values)


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
    said = _Said(options.file, {} if options.file is None else _read(options.file))
    found = _of_values(said, options)
    found = replace(found, limits=replace(found.limits, free_bytes=free_bytes))
    if found.peers == (LOOPBACK,) and not LOOPBACK.is_at(found.host):
        raise UsageError(
            f"the DICOM node listens on {found.host}, but nobody may send from there: add --allow AET@ADDRESS"
        )
    return found


def _of_values(said: _Said, options: NodeOptions) -> NodeSettings:
    values = said.values
    peers = [peer_of(entry, said.place("allow")) for entry in said.texts("allow")]
    targets = [target_of(entry, said.place("send_to")) for entry in said.texts("send_to")]
    targets += [target_of(entry) for entry in options.send_to]
    return NodeSettings(
        title=_title(said, options.title),
        host=_address(said),
        port=_port(said, options.port),
        peers=(*peers, *(peer_of(entry) for entry in options.allow)) or (LOOPBACK,),
        quiet_seconds=_seconds(values, "quiet_seconds", _DEFAULTS.quiet_seconds, options.quiet_seconds),
        released_seconds=_seconds(values, "released_seconds", _DEFAULTS.released_seconds),
        late_seconds=_seconds(values, "late_seconds", _DEFAULTS.late_seconds),
        targets=tuple(dict.fromkeys(targets)),
        forms=_forms(said),
        authorization=_authorization(said),
        limits=_limits(values.get("limits", {})),
        retries=_retries(values.get("retries", {})),
        tls=_tls(said),
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
        if isinstance(value, _NUMBER):
            _check_range(f"{path}: {place}{key} = {value}", value, 1 if place and key in _AT_LEAST_1 else 0)


def _check_range(what: str, value: float, least: int) -> None:
    if not 0 <= value <= _MOST:
        raise UsageError(f"{what} is out of range")
    if value < least:
        raise UsageError(f"{what} is too small; expected at least {least}")


def _seconds(values: Values, key: str, default: float, first: float | None = None) -> float:
    return float(values.get(key, default) if first is None else first)


def _title(said: _Said, first: str | None) -> str:
    if first:
        return title_of(first, "--dicom-title")
    return title_of(said.values.get("title", _DEFAULTS.title), said.place("title"))


def _port(said: _Said, first: int | None) -> int:
    port = said.values.get("port", _DEFAULTS.port) if first is None else first
    if not 0 <= port <= 65_535:
        place = said.place("port") if first is None else "--dicom-port"
        raise UsageError(f"{place} {port}: expected a number from 0 to 65535")
    return int(port)


def _address(said: _Said) -> str:
    import ipaddress

    text = said.values.get("address", _DEFAULTS.host)
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        place = said.place("address")
        raise UsageError(f"{place} {text}: expected an IP address to listen on, such as 0.0.0.0 for all") from error


def _authorization(said: _Said) -> str | None:
    if (secret := said.values.get("send_auth")) is None:
        return None
    return authorization_of(said.folder / secret, said.place("send_auth"))


def _forms(said: _Said) -> tuple[Form, ...]:
    texts = said.texts("send_forms")
    if unknown := [text for text in texts if text not in FORMS]:
        raise UsageError(f"{said.place('send_forms')}: {unknown[0]} is not known; known are {', '.join(FORMS)}")
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


def _tls(said: _Said) -> tuple[Path, Path] | None:
    files = [said.folder / said.values[key] for key in ("tls_certificate", "tls_key") if key in said.values]
    if len(files) == 1:
        raise UsageError(f"{said.place('tls_certificate and tls_key')}: give both or neither")
    return (files[0], files[1]) if files else None
