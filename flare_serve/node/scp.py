"""The server of C-ECHO and C-STORE: who may associate, what is accepted, and with which status an instance ends."""

import logging
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from socketserver import BaseServer
from typing import TYPE_CHECKING, Any, Final

from pynetdicom import _config, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from flare_infer.dicom.headers import CODINGS, CT_CLASSES, read_header
from flare_infer.errors import ImageError, UsageError, one_line
from flare_serve.errors import QueueFullError, SpoolFullError
from flare_serve.logs import log
from flare_serve.node.addresses import admitted
from flare_serve.node.arriving import ArrivingInstance, BoundedReceiver
from flare_serve.node.instances import Arrived, is_uid
from flare_serve.node.series import Collector
from flare_serve.node.settings import NodeSettings
from flare_serve.node.sockets import BoundedSocket, Entity
from flare_serve.node.statuses import (
    CANNOT_UNDERSTAND,
    DOES_NOT_MATCH_CLASS,
    OUT_OF_RESOURCES,
    SUCCESS,
)

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.events import Event


_PERMANENT: Final = 1
_BY_USER: Final = 1
_CALLING_TITLE: Final = 3
_CALLED_TITLE: Final = 7
"""Of a rejection: its result, its source, and two reasons (PS3.8, 9.3.4)."""

_NEGOTIATION_SECONDS: Final = 30.0
_SPARE_CONNECTIONS: Final = 4
"""Beyond the associations that may be: so many are told that there are too many, and any further is closed."""


class StorageServer:
    """Listens for senders.

    Args:
        settings: who may send, and how much.
        collector: takes what has come.
        folder: where instances are written while they come.
        count: callback, called with the kind of an event, in one of a few words.

    Raises:
        UsageError: if the port cannot be had, or the certificate cannot be used.
    """

    def __init__(
        self, settings: NodeSettings, collector: Collector, folder: Path, count: Callable[[str], None]
    ) -> None:
        tls = _tls_context(settings.tls)
        self._settings, self._collector, self._count = settings, collector, count
        _config.LOG_HANDLER_LEVEL = "none"
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # it quotes what senders say
        entity = Entity(settings.title)
        entity.maximum_associations = settings.limits.associations
        entity.maximum_pdu_size = settings.limits.pdu_bytes
        entity.network_timeout = entity.dimse_timeout = settings.limits.idle_seconds
        entity.acse_timeout = _NEGOTIATION_SECONDS
        entity.add_supported_context(Verification)
        for sop_class in CT_CLASSES:
            entity.add_supported_context(sop_class, list(CODINGS))
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_RELEASED, self._released),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]
        try:
            self._server = _Server(
                entity,
                (settings.host, settings.port),
                settings.title,
                entity.supported_contexts,
                evt_handlers=handlers,
                request_handler=_Handler,
            )
        except OSError as error:
            where = f"{settings.host}:{settings.port}"
            raise UsageError(
                f"{where}: the DICOM node cannot listen there ({error.strerror}); see --dicom-port"
            ) from error
        self._server.prepare(settings, folder, count, tls)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="dicom-node", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    @property
    def is_alive(self) -> bool:
        """Whether it listens."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End all associations, and listen no more."""
        if self._thread.is_alive():
            BaseServer.shutdown(self._server)
        for association in self._server.active_associations:
            association.abort()
        self._server.server_close()

    def _requested(self, event: "Event") -> None:
        """Somebody asks for an association: reject who is not allowed to send."""
        association = event.assoc
        request: Any = association.requestor.primitive
        calling, called = str(request.calling_ae_title).strip(), str(request.called_ae_title).strip()
        if called != self._settings.title:
            self._reject(association, _CALLED_TITLE, "called AE title")
        elif not admitted(self._settings.peers, association.requestor.address, calling):
            self._reject(association, _CALLING_TITLE, "calling AE title")

    def _reject(self, association: "Association", reason: int, what: str) -> None:
        request: Any = association.requestor.primitive
        title = request.calling_ae_title if reason == _CALLING_TITLE else request.called_ae_title
        log("association rejected", address=association.requestor.address, reason=what, title=one_line(str(title)))
        self._count(f"dicom association rejected: {what}")
        association.acse.send_reject(_PERMANENT, _BY_USER, reason)
        association.kill()

    def _store(self, event: "Event") -> int:
        """An instance has come: the status to answer with."""
        request: Any = event.request
        arriving = request.DataSet
        if not isinstance(arriving, ArrivingInstance):
            return CANNOT_UNDERSTAND
        try:
            status = self._stored(event, arriving)
        except (OSError, QueueFullError, SpoolFullError):
            status = OUT_OF_RESOURCES
        except ImageError:
            status = CANNOT_UNDERSTAND
        if status != SUCCESS:
            arriving.refuse(status)
            log("instance refused", address=event.assoc.requestor.address, status=f"{status:04X}")
        self._count("dicom instance stored" if status == SUCCESS else f"dicom instance refused: {status:04X}")
        return status

    def _stored(self, event: "Event", arriving: ArrivingInstance) -> int:
        request: Any = event.request
        path = arriving.whole()
        if path is None:
            return arriving.refusal
        if request.AffectedSOPClassUID != event.context.abstract_syntax:
            return DOES_NOT_MATCH_CLASS
        header = read_header(path)
        if not is_uid(header.series_uid) or not header.modality:
            return CANNOT_UNDERSTAND
        if header.modality != "CT":
            return DOES_NOT_MATCH_CLASS
        self._collector.take(
            Arrived(
                path=path,
                title=str(event.assoc.requestor.ae_title).strip(),
                series=header.series_uid,
                instance=str(request.AffectedSOPInstanceUID),
                association=event.assoc,
            )
        )
        return SUCCESS

    def _released(self, event: "Event") -> None:
        self._collector.ended(event.assoc, released=True)

    def _closed(self, event: "Event") -> None:
        self._collector.ended(event.assoc, released=event.assoc.is_released)
        if event.assoc.requestor.primitive is None:
            # It would wait for a request all its time, and take the place of another: probes come and go like this.
            event.assoc.dul.to_user_queue.put(None)
        if isinstance(event.assoc.dimse, BoundedReceiver):
            event.assoc.dimse.drop_unfinished()


class _Handler(RequestHandler):
    """Gives a new association its bounds."""

    server: "_Server"

    def _create_association(self) -> "Association":
        association = super()._create_association()
        association.dul.event_queue.get_nowait()  # that a connection came: the second socket says it again
        association.dul.socket = BoundedSocket(association, client_socket=self.request)
        association.dimse = BoundedReceiver(association, self.server.folder, self.server.settings.limits)
        return association


class _Server(ThreadedAssociationServer):
    """Looks at the address of a connection before a byte of it is read."""

    daemon_threads = True
    request_queue_size = 32

    def prepare(
        self, settings: NodeSettings, folder: Path, count: Callable[[str], None], tls: ssl.SSLContext | None
    ) -> None:
        """Tell what is needed for connections."""
        self.settings, self.folder, self.count, self.tls = settings, folder, count, tls

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether to go on with a connection."""
        address = str(client_address[0])
        if not admitted(self.settings.peers, address):
            log("connection closed: the address is not allowed", address=address)
            self.count("dicom association rejected: address")
            return False
        if len(self.active_associations) >= self.settings.limits.associations + _SPARE_CONNECTIONS:
            self.count("dicom association rejected: too many")
            return False
        return True

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Begin an association; in a thread of the connection, so that a handshake keeps nobody else waiting."""
        request.settimeout(self.settings.limits.idle_seconds)
        if self.tls is not None:
            request = self.tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection could not begin: a handshake failed, most often."""
        log("connection could not begin", address=str(client_address[0]))
        self.count("dicom association rejected: handshake")


def _tls_context(files: tuple[Path, Path] | None) -> ssl.SSLContext | None:
    if files is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(*files)
    except OSError as error:
        raise UsageError(
            f"{files[0]} and {files[1]}: no certificate and key in PEM that fit ({error.strerror or error}); see "
            "tls_certificate and tls_key in the file of --dicom-settings"
        ) from error
    return context
