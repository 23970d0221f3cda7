"""One attempt to hand a DICOM file to an archive, by C-STORE or as its target says."""

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom.filereader import read_file_meta_info
from pynetdicom import _config

from flare_serve.node.addresses import DicomTarget, Target
from flare_serve.node.answers import Answer, Result
from flare_serve.node.settings import NodeSettings
from flare_serve.node.sockets import Entity
from flare_serve.node.statuses import is_final, is_stored
from flare_serve.node.stow import send_by_stow

if TYPE_CHECKING:
    from pynetdicom.association import Association


def send(path: Path, target: Target, settings: NodeSettings) -> Answer:
    """Send a DICOM file (PS3.10) to a target, as it is.

    Args:
        path: the file.
        target: where to.
        settings: title, time limit and authorization.
    """
    if isinstance(target, DicomTarget):
        return send_by_c_store(path, target, settings)
    return send_by_stow(path, target, settings)


def send_by_c_store(path: Path, target: DicomTarget, settings: NodeSettings) -> Answer:
    """One attempt by C-STORE, over an association of its own.

    Args:
        path: the file.
        target: where to.
        settings: title and time limit.
    """
    _config.STORE_SEND_CHUNKED_DATASET = True  # from the file, as it is, and never whole in memory
    entity = Entity(settings.title)
    seconds = settings.retries.timeout_seconds
    entity.connection_timeout = entity.acse_timeout = entity.network_timeout = entity.dimse_timeout = seconds
    meta = read_file_meta_info(path)
    entity.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    tls = (ssl.create_default_context(), target.host) if target.tls else None
    association = entity.associate(target.host, target.port, ae_title=target.title, tls_args=tls)
    if not association.is_established:
        return _not_associated(association)
    try:
        status: Any = association.send_c_store(path).get("Status")
    except (RuntimeError, ValueError):
        return Answer(Result.LATER, "ended the association")
    finally:
        if association.is_established:
            association.release()
    if status is None:
        return Answer(Result.LATER, "did not answer")
    if is_stored(status):
        return Answer(Result.STORED, f"stored, status {status:04X}")
    return Answer(Result.NEVER if is_final(status) else Result.LATER, f"refused with status {status:04X}")


def _not_associated(association: "Association") -> Answer:
    if association.is_rejected:
        reason = getattr(association.acceptor.primitive, "reason_str", "") or "no reason given"
        return Answer(Result.LATER, f"rejected the association ({str(reason).lower()})")
    if association.rejected_contexts:
        return Answer(Result.NEVER, "does not take objects of this kind")
    return Answer(Result.LATER, "cannot be reached")
