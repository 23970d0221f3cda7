"""Instances while they come in: each is written to the spool piece by piece, and no sender fills memory or disk."""

import io
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dsutils import create_file_meta

from flare_infer.files.write_whole import PART_PREFIX
from flare_serve.node.instances import is_uid
from flare_serve.node.settings import Limits
from flare_serve.node.statuses import CANNOT_UNDERSTAND, INVALID_INSTANCE, OUT_OF_RESOURCES

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.pdu_primitives import P_DATA

_PREAMBLE: Final = bytes(128) + b"DICM"
_MOST_COMMAND_BYTES: Final = 65_536
_BROKEN_PDU: Final = "Evt19"
"""The event "unrecognized or invalid PDU" of the state machine (PS3.8, 9.2), which aborts the association."""


class ArrivingInstance(io.BytesIO):
    """Takes the data set of a request in the place of memory, and writes a DICOM file (PS3.10) of it.

    Args:
        message: the request, whose command comes before its data.
        association: the association it comes by.
        folder: where to write.
        limits: how long it may be, and how much must stay free.

    Attributes:
        path: the file; None before anything came, and if nothing is kept.
        refusal: the status to answer with if it is not kept (PS3.4, B.2.3, and PS3.7, C); else 0.
    """

    def __init__(self, message: DIMSEMessage, association: "Association", folder: Path, limits: Limits) -> None:
        super().__init__()
        self._message, self._association = message, association
        self._folder, self._limits = folder, limits
        self._file: Any = None
        self._count = 0
        self.path: Path | None = None
        self.refusal = 0

    def write(self, data: Any) -> int:
        """Write a piece; what is too much, or has no room, is read and dropped, so that the request can be answered."""
        self._count += len(data)
        if self._count > self._limits.instance_bytes:
            self.refuse(OUT_OF_RESOURCES)
        if not self.refusal:
            try:
                if self._file is None:
                    self._begin()
                self._file.write(data)
            except OSError:
                self.refuse(OUT_OF_RESOURCES)
            except (ValueError, AttributeError, TypeError, LookupError):
                self.refuse(INVALID_INSTANCE)
        return len(data)

    def whole(self) -> Path | None:
        """The file when everything has come; None if it is refused."""
        if self._file is None:
            self.refuse(CANNOT_UNDERSTAND)
        elif not self.refusal:
            try:
                self._file.close()
            except OSError:
                self.refuse(OUT_OF_RESOURCES)
        return self.path

    def refuse(self, status: int) -> None:
        """Keep nothing, and remember why."""
        self.refusal = self.refusal or status
        if self._file is not None:
            with suppress(OSError):  # a full disk refuses what was left in the buffer; the file goes in any case
                self._file.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self.path = None

    def _begin(self) -> None:
        """Begin the file by the head that the request stands for."""
        from pydicom.filewriter import write_file_meta_info
        from pydicom.uid import UID

        command = self._message.command_set
        if not isinstance(self._message, C_STORE_RQ):
            raise ValueError("data of another request")
        instance = UID(str(command.AffectedSOPInstanceUID))
        if not is_uid(instance):
            raise ValueError("no UID")
        contexts = {one.context_id: one for one in self._association.accepted_contexts}
        meta = create_file_meta(
            sop_class_uid=UID(str(command.AffectedSOPClassUID)),
            sop_instance_uid=instance,
            transfer_syntax=contexts[self._message.context_id].transfer_syntax[0],
        )
        if shutil.disk_usage(self._folder).free < self._limits.free_bytes:
            raise OSError("no room")
        self.path = self._folder / f"{PART_PREFIX}{secrets.token_hex(16)}"
        self._file = self.path.open("xb")
        self._file.write(_PREAMBLE)
        write_file_meta_info(self._file, meta)


class BoundedReceiver(DIMSEServiceProvider):
    """Receives the messages of an association, data sets into files.

    Args:
        association: the association.
        folder: where to write.
        limits: how long an instance may be, and how much must stay free.
    """

    def __init__(self, association: "Association", folder: Path, limits: Limits) -> None:
        super().__init__(association)
        self._folder, self._limits = folder, limits
        self._last: ArrivingInstance | None = None

    def receive_primitive(self, primitive: "P_DATA") -> None:
        """Take the next pieces of a message."""
        if self.message is None:
            self.message = DIMSEMessage()
            self._last = ArrivingInstance(self.message, self.assoc, self._folder, self._limits)
            self.message.data_set = self._last
        if self.message.encoded_command_set.tell() > _MOST_COMMAND_BYTES:
            self.dul.event_queue.put(_BROKEN_PDU)
            return
        super().receive_primitive(primitive)

    def drop_unfinished(self) -> None:
        """Remove what has come of a message whose end did not come."""
        if self.message is not None and self._last is not None:
            self._last.refuse(CANNOT_UNDERSTAND)
