"""Connections of the node: no longer a message than there is, and none that stays open."""

import socket
from contextlib import suppress
from ssl import SSLContext
from typing import TYPE_CHECKING, Final

from pynetdicom import AE
from pynetdicom.transport import AddressInformation, AssociationSocket

if TYPE_CHECKING:
    from pynetdicom.association import Association

_MOST_PDU_BYTES: Final = 1_048_576
"""Of any kind: the maximum that is announced binds PDUs of data only (PS3.8, D.1)."""


class BoundedSocket(AssociationSocket):
    """Reads no PDU that is longer than any is, and is closed in any case, whether it was connected or not."""

    def recv(self, nr_bytes: int) -> bytearray:
        """Read so many bytes, at once and not in many small pieces; fewer if the connection ends.

        Raises:
            OSError: if they are too many, or do not come.
        """
        if nr_bytes > _MOST_PDU_BYTES or self.socket is None:
            raise OSError("the PDU is too long")
        found, count = bytearray(nr_bytes), 0
        with memoryview(found) as view:
            while count < nr_bytes and (more := self.socket.recv_into(view[count:])):
                count += more
        return found[:count] if count < nr_bytes else found

    def _shutdown_socket(self) -> None:
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


class Entity(AE):
    """An application entity whose own connections are closed in any case."""

    def _create_socket(
        self, assoc: "Association", address: AddressInformation, tls_args: tuple[SSLContext, str] | None
    ) -> AssociationSocket:
        made = BoundedSocket(assoc, address=address)
        made.tls_args = tls_args
        return made
