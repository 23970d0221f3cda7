"""Requests that are no good: the right status, one line, and no trace of the program."""

import gzip
import json
import socket
from collections.abc import Mapping
from typing import Any

import pytest

from flare_infer.segment.segmenter import Segmenter
from flare_serve.web.access import Access, is_loopback, others_may_read, read_token
from flare_serve.web.guard import POLICY
from tests.flare_serve.served import ROOT, Served, served

JOB = "0" * 32
FORM = "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'


def asked(method: str, path: str, content: bytes = b"", **headers: str) -> Mapping[str, Any]:
    return {
        "method": method,
        "url": path,
        "content": content,
        "headers": {name.replace("_", "-"): value for name, value in headers.items()},
    }


BAD: Mapping[str, tuple[int, Mapping[str, Any]]] = {
    "no such page": (404, asked("GET", "nothing")),
    "a folder of the program": (404, asked("GET", "flare_serve/web/app.py")),
    "no such file of the page": (404, asked("GET", "assets/passwd")),
    "out of the files of the page": (404, asked("GET", "assets/..%2f..%2fapp.py")),
    "out of the files of the page, twice encoded": (404, asked("GET", "assets/%252e%252e%252fapp.py")),
    "no such job": (404, asked("GET", f"jobs/{JOB}")),
    "results of no job": (404, asked("GET", f"jobs/{JOB}/labels.nii.gz")),
    "events of no job": (404, asked("GET", f"jobs/{JOB}/events")),
    "the removal of no job": (404, asked("DELETE", f"jobs/{JOB}")),
    "a result that there never is": (404, asked("GET", f"jobs/{JOB}/upload")),
    "the database": (404, asked("GET", "jobs/../jobs.sqlite")),
    "an id that is a path": (404, asked("GET", "jobs/..%2e")),
    "an id that climbs": (404, asked("GET", "jobs/..%2f..%2fetc%2fpasswd/labels.nii.gz")),
    "an id that is too short": (404, asked("GET", "jobs/1")),
    "the removal of an id that is a word": (404, asked("DELETE", "jobs/nonexist")),
    "results of an id that is a word": (404, asked("GET", "jobs/nonexist/labels.nii.gz")),
    "an id in capitals": (404, asked("GET", f"jobs/{'A' * 32}")),
    "an id with a zero byte": (404, asked("GET", "jobs/%00")),
    "an id of a kilobyte": (404, asked("GET", f"jobs/{'0' * 1024}")),
    "an id with SQL": (404, asked("GET", "jobs/1'%20OR%20'1'='1")),
    "an unknown state": (422, asked("GET", "jobs?state=lost")),
    "no jobs at all": (422, asked("GET", "jobs?limit=0")),
    "too many jobs": (422, asked("GET", "jobs?limit=100000")),
    "a number that is none": (422, asked("GET", "jobs?limit=ten")),
    "jobs before one that is not there": (404, asked("GET", f"jobs?before={JOB}")),
    "jobs before SQL": (404, asked("GET", "jobs?before=';DROP TABLE jobs;--")),
    "a name that is too long": (422, asked("POST", "jobs?name=" + "x" * 2000, b"NRRD")),
    "a series that is a word": (422, asked("POST", "jobs?series=all", b"NRRD")),
    "a series that is a path": (422, asked("POST", "jobs?series=../..", b"NRRD")),
    "an empty body": (415, asked("POST", "jobs")),
    "a text": (415, asked("POST", "jobs", b"hello")),
    "an image": (415, asked("POST", "jobs", b"\x89PNG\r\n\x1a\n")),
    "a page": (415, asked("POST", "jobs", b"<html>")),
    "JSON": (415, asked("POST", "jobs", b'{"file": "/etc/passwd"}', Content_Type="application/json")),
    "a form without files": (415, asked("POST", "jobs", b"a=b", Content_Type="application/x-www-form-urlencoded")),
    "an encoded body": (415, asked("POST", "jobs", gzip.compress(b"NRRD"), Content_Encoding="gzip")),
    "a form without a boundary": (400, asked("POST", "jobs", b"--b", Content_Type="multipart/form-data")),
    "a form with an endless boundary": (400, asked("POST", "jobs", b"", Content_Type=f"{FORM}{'b' * 500}")),
    "a form that is none": (400, asked("POST", "jobs", b"hello", Content_Type=FORM)),
    "a form of nothing": (400, asked("POST", "jobs", b"--b--\r\n", Content_Type=FORM)),
    "a form that is cut": (400, asked("POST", "jobs", PART + b"NRRD", Content_Type=FORM)),
    "a form with an empty file": (415, asked("POST", "jobs", PART + b"\r\n--b--\r\n", Content_Type=FORM)),
    "a form with a text": (415, asked("POST", "jobs", PART + b"hello\r\n--b--\r\n", Content_Type=FORM)),
    "a form with two texts": (
        415,
        asked("POST", "jobs", PART + b"hello\r\n" + PART + b"hello\r\n--b--\r\n", Content_Type=FORM),
    ),
    "a form with another field": (
        400,
        asked("POST", "jobs", PART.replace(b'"file"', b'"path"') + b"NRRD\r\n--b--\r\n", Content_Type=FORM),
    ),
    "a file where a text belongs": (
        400,
        asked("POST", "jobs", PART.replace(b'"file"', b'"name"') + b"NRRD\r\n--b--\r\n", Content_Type=FORM),
    ),
    "a text where a file belongs": (
        400,
        asked("POST", "jobs", PART.replace(b'; filename="a"', b"") + b"NRRD\r\n--b--\r\n", Content_Type=FORM),
    ),
    "a form with a field that is too long": (
        400,
        asked(
            "POST",
            "jobs",
            PART.replace(b'"file"; filename="a"', b'"name"') + b"x" * 5000 + b"\r\n--b--\r\n",
            Content_Type=FORM,
        ),
    ),
    "a form with a header that is too long": (
        400,
        asked("POST", "jobs", PART.replace(b'"a"', b'"' + b"a" * 9000 + b'"') + b"NRRD", Content_Type=FORM),
    ),
    "a form with a wrong series": (
        400,
        asked(
            "POST",
            "jobs",
            PART.replace(b'"file"; filename="a"', b'"series"') + b"all\r\n" + PART + b"NRRD\r\n--b--\r\n",
            Content_Type=FORM,
        ),
    ),
    "a list that is changed": (405, asked("PUT", "jobs", b"")),
    "a job that is changed": (405, asked("PATCH", f"jobs/{JOB}", b"")),
    "all jobs removed": (405, asked("DELETE", "jobs")),
    "a result that is written": (405, asked("POST", f"jobs/{JOB}/labels.nii.gz", b"x")),
    "the page removed": (405, asked("DELETE", "")),
    "an unknown method": (405, asked("BREW", "jobs")),
    "a trace": (405, asked("TRACE", "jobs")),
    "metrics that are written": (405, asked("POST", "metrics")),
    "a session without a token": (422, asked("POST", "session")),
    "a form of another site": (403, asked("POST", "jobs", b"NRRD", Origin="http://evil.example")),
    "a form of no site": (403, asked("POST", "jobs", b"NRRD", Origin="null")),
    "a form of another port": (403, asked("POST", "jobs", b"NRRD", Origin="http://127.0.0.1:1")),
    "a form of a broken origin": (403, asked("POST", "jobs", b"NRRD", Origin="http://[")),
    "a form that the browser calls foreign": (403, asked("POST", "jobs", b"NRRD", Sec_Fetch_Site="cross-site")),
    "a form of a neighbor": (403, asked("POST", "jobs", b"NRRD", Sec_Fetch_Site="same-site")),
    "a removal by another site": (403, asked("DELETE", f"jobs/{JOB}", Origin="http://evil.example")),
    "a host that somebody made up": (421, asked("GET", "jobs", Host="evil.example")),
    "a host that begins like this one": (421, asked("GET", "", Host="localhost.evil.example")),
    "an address of the network": (421, asked("GET", "model", Host="192.168.0.1:8000")),
}
"""By what is wrong: the status that is due, and the request."""


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_in_one_line(service: Served, name: str) -> None:
    status, request = BAD[name]
    before = len(service.store.jobs())
    answer = service.client.send(service.client.build_request(**request))
    assert answer.status_code == status
    detail = answer.json()["detail"]
    assert isinstance(detail, str)
    assert detail
    assert len(detail) < 1500
    assert not any(word in detail for word in ("\n", "Traceback", "site-packages", str(service.spool)))
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert len(service.store.jobs()) == before
    assert list((service.spool / "incoming").iterdir()) == []


def test_there_are_sixty_kinds_of_bad_request() -> None:
    assert len(BAD) >= 60


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: ten\r\n\r\n",
        b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000,
    ],
)
def test_what_is_no_request_is_refused(service: Served, sent: bytes) -> None:
    place = service.client.base_url
    with socket.create_connection((place.host, place.port or 0), timeout=60) as client:
        client.sendall(sent)
        answer = client.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 4")
    assert "Traceback" not in answer


def test_a_job_that_is_not_there_is_said_in_our_words(service: Served) -> None:
    for method in ("GET", "DELETE"):
        assert service.client.request(method, "jobs/nonexist").json() == {
            "detail": "no job nonexist; it may have been removed"
        }


def test_what_is_no_http_is_the_plain_400_of_the_documentation(service: Served) -> None:
    place = service.client.base_url
    with socket.create_connection((place.host, place.port or 0), timeout=60) as client:
        client.sendall(b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: ten\r\n\r\n")
        answer = client.recv(65536).decode().lower()
    assert answer.startswith("http/1.1 400 ")
    assert "content-type: text/plain" in answer
    assert "400 for what is no HTTP" in (ROOT / "docs" / "service.md").read_text(encoding="utf-8")


def test_with_a_token_nothing_is_told_without_it(segmenter: Segmenter, tmp_path: Any) -> None:
    token = "a-token-of-this-test"
    with served(tmp_path / "spool", segmenter, access=Access(token=token, names=frozenset({"ct.example"}))) as found:
        client = found.client
        closed = ("jobs", "events", "metrics", "model", "openapi.json", f"jobs/{JOB}/labels.nii.gz", "session")
        assert {path: client.get(path).status_code for path in closed} == dict.fromkeys(closed, 401)
        assert client.post("jobs", content=b"NRRD").status_code == 401
        assert {path: client.get(path).status_code for path in ("", "healthz", "readyz")} == {
            **dict.fromkeys(("", "healthz", "readyz"), 200)
        }
        assert client.get("jobs", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.get("jobs", headers={"Authorization": f"Basic {token}"}).status_code == 401
        assert client.get("jobs", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        assert client.get("", headers={"Host": "ct.example"}).status_code == 200
        assert client.get("", headers={"Host": "evil.example"}).status_code == 421
        assert client.get("healthz", headers={"Host": "10.0.0.7:8000"}).status_code == 200
        assert client.post("session", data={"token": "wrong"}).status_code == 401
        begun = client.post("session", data={"token": token})
        cookie = begun.headers["set-cookie"].lower()
        assert all(word in cookie for word in ("httponly", "samesite=strict", "path=/"))
        assert client.get("jobs").status_code == 200
        value = client.cookies["flare_session"]
        client.cookies.clear()
        expiry, _, mark = value.partition(".")
        for forged in (
            f"{int(expiry) + 1}.{mark}",
            f"1.{mark}",
            f"{expiry}.",
            "x",
            f"{expiry}.{mark[:-1]}0" + mark[:0],
        ):
            if forged != value:
                assert client.get("jobs", headers={"Cookie": f"flare_session={forged}"}).status_code == 401
        assert token not in json.dumps([str(found.running.service.access)])


def test_a_token_is_a_secret_or_refused(tmp_path: Any) -> None:
    from flare_infer.errors import UsageError

    path = tmp_path / "token"
    for content in (b"", b"short", b"two words that are long enough", b"\xff" * 40):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="token"):
            read_token(path)
    path.write_bytes(b"0123456789abcdef\n")
    assert read_token(path) == "0123456789abcdef"
    with pytest.raises(UsageError) as caught:
        read_token(tmp_path / "missing")
    assert str(caught.value).count("missing") == 1
    assert "(No such file or directory)" in str(caught.value)


@pytest.mark.parametrize(("mode", "others"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_token_that_others_may_read_is_noticed(tmp_path: Any, mode: int, others: bool) -> None:
    path = tmp_path / "token"
    path.touch()
    path.chmod(mode)
    assert others_may_read(path) == others


@pytest.mark.parametrize(("address", "local"), [("127.0.0.1", True), ("::1", True), ("localhost", True)])
def test_addresses_of_this_machine(address: str, local: bool) -> None:
    assert is_loopback(address) == local
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("10.0.0.1")
    assert not is_loopback("example.org")
