"""What the node answers to those who send, and what it lets nobody do."""

import logging
import socket
import ssl
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless, generate_uid
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from flare_infer.errors import UsageError
from flare_serve.jobs.job import Job
from flare_serve.node.addresses import peer_of
from flare_serve.node.node import DicomNode
from flare_serve.node.settings import Limits
from flare_serve.node.sockets import Entity
from tests.dicom.series import PATIENT, ROOT, Made, with_changes
from tests.flare_serve.node.senders import CT, EXPLICIT, Site, associated, sent, slices, until

MADE = Made()
PERMANENT, BY_USER = 1, 1
ABORT = b"\x07"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.start()
    yield made
    made.stop()


def restarted(site: Site, **changes: Any) -> None:
    site.stop()
    site.start(**changes)


def one_job(site: Site) -> Job:
    (job,) = until(site.jobs)
    return job  # type: ignore[no-any-return]


def nothing_left(site: Site) -> bool:
    return not any(path.is_file() for path in (site.folder / "spool" / "dicom").rglob("*"))


def test_a_series_becomes_a_job_and_lies_in_the_spool_as_it_was_sent(site: Site, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    instances = slices(MADE)
    with associated(site.node.port, calling="CT1") as association:
        assert association.send_c_echo().Status == 0
        assert sent(association, instances) == {0}
    job = one_job(site)
    assert job.name.endswith(" from CT1")
    found = {ds.SOPInstanceUID: ds for ds in map(dcmread, site.store.spool.upload(job.id).iterdir())}
    assert len(found) == len(instances)
    for one in instances:
        assert encode(found[one.SOPInstanceUID], False, True) == encode(one, False, True)
        assert found[one.SOPInstanceUID].file_meta.TransferSyntaxUID == EXPLICIT
    texts = (
        " ".join(str(vars(record)) for record in caplog.records) + " ".join(map(str, site.folder.rglob("*"))) + job.name
    )
    assert not any(word in texts for word in (*PATIENT, "Doe", "Jane", MADE.uid, "20210203"))


def test_compressed_instances_stay_compressed(site: Site) -> None:
    instances = slices(MADE)
    for one in instances:
        one.compress(RLELossless, generate_instance_uid=False)
    with associated(site.node.port, syntaxes=[RLELossless]) as association:
        assert sent(association, instances) == {0}
    job = one_job(site)
    found = [dcmread(path) for path in site.store.spool.upload(job.id).iterdir()]
    assert {one.file_meta.TransferSyntaxUID for one in found} == {RLELossless}
    assert {one.PixelData for one in found} == {one.PixelData for one in instances}


def test_only_ct_in_syntaxes_that_are_read_is_negotiated(site: Site) -> None:
    entity = Entity("CT1")
    entity.add_requested_context(CT, EXPLICIT)
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.2.1", RLELossless)
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.4", EXPLICIT)
    entity.add_requested_context(CT, "1.2.840.10008.1.2.4.201")
    association = entity.associate("127.0.0.1", site.node.port, ae_title="FLARE")
    accepted = [(one.abstract_syntax, one.transfer_syntax[0]) for one in association.accepted_contexts]
    association.release()
    assert accepted == [(CT, EXPLICIT), ("1.2.840.10008.5.1.4.1.1.2.1", RLELossless)]


@pytest.mark.parametrize(("calling", "called", "reason"), [("CT2", "FLARE", 3), ("CT1", "OTHER", 7)])
def test_an_association_of_another_title_is_rejected(site: Site, calling: str, called: str, reason: int) -> None:
    restarted(site, peers=(peer_of("CT1@127.0.0.1"), peer_of("CT2@10.0.0.1")))
    with associated(site.node.port, calling=calling, called=called) as association:
        assert association.is_rejected
        answer: Any = association.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (PERMANENT, BY_USER, reason)
    with associated(site.node.port, calling="CT1") as association:
        assert association.is_established


def test_a_connection_from_another_address_is_closed_before_anything_is_read(site: Site) -> None:
    restarted(site, peers=(peer_of("*@10.0.0.0/8"),))
    with socket.create_connection(("127.0.0.1", site.node.port), timeout=20) as connection:
        assert connection.recv(1) == b""
    assert site.counts == {"dicom association rejected: address": 1}


def test_more_associations_than_may_be_are_rejected_for_now(site: Site) -> None:
    restarted(site, limits=Limits(associations=1))
    with associated(site.node.port) as first, associated(site.node.port) as second:
        assert first.is_established
        assert second.is_rejected
        answer: Any = second.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
    until(lambda: try_again(site))


def try_again(site: Site) -> bool:
    with associated(site.node.port) as association:
        return bool(association.is_established)


def test_a_full_disk_is_told_and_nothing_is_kept(site: Site) -> None:
    restarted(site, limits=Limits(free_bytes=2**60))
    with associated(site.node.port) as association:
        assert sent(association, slices(MADE)[:2]) == {0xA700}
    assert nothing_left(site)


def test_a_full_queue_is_told(site: Site) -> None:
    site.store.limits = replace(site.store.limits, most_waiting=0)
    with associated(site.node.port) as association:
        assert sent(association, slices(MADE)[:1]) == {0xA700}
    assert nothing_left(site)


def test_an_instance_that_is_too_long_is_refused_and_the_next_is_not(site: Site) -> None:
    restarted(site, limits=Limits(instance_bytes=4000))
    long = slices(MADE)[0]
    long.add_new(0x00091001, "OB", bytes(4000))
    long.add_new(0x00090010, "LO", "TEST")
    with associated(site.node.port) as association:
        assert sent(association, [long]) == {0xA700}
        assert sent(association, slices(MADE)[1:3]) == {0}
    assert len(site.instances(one_job(site))) == 2


def test_what_is_no_ct_or_no_dicom_is_refused_by_its_status(site: Site) -> None:
    def other(ds: Any, index: int) -> None:
        ds.Modality = "MR"

    def homeless(ds: Any, index: int) -> None:
        del ds.SeriesInstanceUID

    with associated(site.node.port) as association:
        assert sent(association, slices(with_changes(MADE, other))[:1]) == {0xA900}
        assert sent(association, slices(with_changes(MADE, homeless))[:1]) == {0xC000}
        assert sent(association, slices(Made(uid="../../series"))[:1]) == {0x0117}
        assert pieces(association, slices(MADE)[0], data=b"\x10\x00\x10\x00PN\xff\xff" + bytes(40)) == 0xC000
        assert pieces(association, slices(MADE)[0], data=b"") == 0xC000
        assert pieces(association, slices(MADE)[0], instance="1.2.not.a.uid") == 0x0117
    assert nothing_left(site)


def pieces(association: Any, ds: Any, *, data: bytes | None = None, instance: str = "") -> int:
    """Send a request as it should not be, and return the status of the answer."""
    request = message(ds, data, instance)
    context = association.accepted_contexts[0].context_id
    association._reactor_checkpoint.clear()
    until(lambda: association._is_paused)
    for primitive in request.encode_msg(context, 16384):
        association.dul.send_pdu(primitive)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return int(answer.Status)


def message(ds: Any, data: bytes | None = None, instance: str = "") -> C_STORE_RQ:
    from io import BytesIO

    content = encode(ds, False, True) if data is None else data
    request = C_STORE()
    request.MessageID, request.Priority = 1, 0
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CT, generate_uid()
    request.DataSet = BytesIO(content or b"")
    made = C_STORE_RQ()
    made.primitive_to_message(request)
    made.command_set.CommandDataSetType = 1 if content else 0x0101
    if instance:
        made.command_set.AffectedSOPInstanceUID = instance
    return made


def test_an_association_that_is_aborted_within_an_instance_leaves_the_whole_ones(site: Site) -> None:
    restarted(site, quiet_seconds=0.3)
    instances = slices(MADE)
    with associated(site.node.port) as association:
        assert sent(association, instances[:3]) == {0}
        some = list(message(instances[3]).encode_msg(association.accepted_contexts[0].context_id, 400))
        for primitive in some[: len(some) // 2]:
            association.dul.send_pdu(primitive)
        until(lambda: list((site.folder / "spool" / "dicom" / "arriving").iterdir()))
        association.abort()
    assert len(site.instances(one_job(site))) == 3
    until(lambda: not list((site.folder / "spool" / "dicom" / "arriving").iterdir()))


def test_a_connection_that_breaks_within_an_instance_leaves_the_whole_ones(site: Site) -> None:
    restarted(site, quiet_seconds=0.3)
    instances = slices(MADE)
    with associated(site.node.port) as association:
        assert sent(association, instances[:3]) == {0}
        some = list(message(instances[3]).encode_msg(association.accepted_contexts[0].context_id, 400))
        for primitive in some[: len(some) // 2]:
            association.dul.send_pdu(primitive)
        until(lambda: list((site.folder / "spool" / "dicom" / "arriving").iterdir()))
        association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
    assert len(site.instances(one_job(site))) == 3
    until(lambda: not list((site.folder / "spool" / "dicom" / "arriving").iterdir()))


@pytest.mark.parametrize(
    "begin",
    [
        struct.pack(">BBL", 1, 0, 2**32 - 1),
        struct.pack(">BBL", 1, 0, 100) + bytes(100),
        struct.pack(">BBL", 4, 0, 6) + bytes(6),
        b"GET / HTTP/1.1\r\nHost: flare\r\n\r\n",
        bytes(64),
    ],
)
def test_bytes_that_are_no_dicom_end_their_connection_only(site: Site, begin: bytes) -> None:
    with socket.create_connection(("127.0.0.1", site.node.port), timeout=20) as connection:
        connection.sendall(begin)
        assert connection.recv(1024)[:1] in {b"", ABORT}
    assert try_again(site)


@pytest.mark.parametrize("begin", [b"", struct.pack(">BBL", 1, 0, 100) + b"half", b"GET / HTTP/1.1\r\n\r\n"])
def test_connections_that_come_and_go_take_nobodys_place(site: Site, begin: bytes) -> None:
    restarted(site, limits=Limits(associations=1))
    for _ in range(6):
        with socket.create_connection(("127.0.0.1", site.node.port), timeout=20) as connection:
            connection.sendall(begin)
    until(lambda: try_again(site), 15)


def test_two_series_that_come_at_once_over_two_associations_become_two_jobs(site: Site) -> None:
    one, other = slices(Made(uid=ROOT + "1")), slices(Made(uid=ROOT + "2"))
    with associated(site.node.port) as left, associated(site.node.port) as right:
        for index in range(0, 12, 2):
            assert sent(left, [one[index], other[index]]) == sent(right, [one[index + 1], other[index + 1]]) == {0}
    jobs = until(lambda: len(site.jobs()) == 2 and site.jobs())
    assert [len(site.instances(job)) for job in jobs] == [12, 12]


def test_with_a_certificate_the_node_speaks_tls_only(site: Site, certificate: tuple[Path, Path]) -> None:
    restarted(site, tls=certificate, limits=Limits(idle_seconds=1.0))
    silent = socket.create_connection(("127.0.0.1", site.node.port), timeout=20)
    entity, context = Entity("CT1"), ssl.create_default_context(cafile=certificate[0])
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", site.node.port, ae_title="FLARE", tls_args=(context, "127.0.0.1"))
    assert association.send_c_echo().Status == 0
    association.release()
    with associated(site.node.port) as plain:
        assert not plain.is_established
    assert silent.recv(1) == b""
    silent.close()


def test_a_certificate_that_is_none_is_said_before_anything_listens(site: Site, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no certificate.*see tls_certificate and tls_key in the file"):
        DicomNode(site.store, replace(site.settings, tls=(tmp_path / "a", tmp_path / "b")), print)


def test_a_port_that_is_taken_is_said(site: Site) -> None:
    with pytest.raises(UsageError, match="--dicom-port"):
        DicomNode(site.store, replace(site.settings, port=site.node.port), print)
