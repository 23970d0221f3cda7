"""How fast the DICOM node takes series, and how much memory it needs; against DCMTK's own receiver.

Usage: python -m benchmarks.dicom_node REPORT

The sender is `storescu` of DCMTK (Debian: dcmtk), the receivers are the node, in a process of its own and without a
model, and `storescp`. The series is invented: noise of 12 bits, 512 x 512 x 554, each header that of the CT which comes
with pydicom (258 elements). The node writes every instance to the spool, reads its header, and makes a job.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pydicom
from pydicom import uid

from benchmarks.dicom_reading import SLICES, write_series
from benchmarks.machine import dated

MIB: Final = 2**20
LONGEST_S: Final = 300
TICKS: Final = os.sysconf("SC_CLK_TCK")

NODE: Final = """
import sys, threading
from dataclasses import replace
from pathlib import Path
from flare_serve.jobs.spool import Spool
from flare_serve.jobs.store import JobStore
from flare_serve.node.node import DicomNode
from flare_serve.node.settings import Limits, NodeSettings
store = JobStore(Spool(Path(sys.argv[1])))
limits = Limits(pdu_bytes=int(sys.argv[3]))
node = DicomNode(store, NodeSettings(port=int(sys.argv[2]), released_seconds=0.2, limits=limits), lambda kind: None)
node.start()
print("ready", flush=True)
threading.Event().wait()
"""


@dataclass
class Receiver:
    """A process that receives: its port, and how many files it took."""

    process: subprocess.Popen[bytes]
    port: int
    taken: Callable[[], int]

    def memory_mib(self, key: str) -> float:
        """VmRSS, what it holds, or VmHWM, the most it ever held."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1024

    def spent_s(self) -> float:
        """Processor time."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def main(report: Path) -> None:
    """Send in every way to every receiver, and write the report."""
    rows = []
    with tempfile.TemporaryDirectory(dir=report.parent) as place:
        scratch = Path(place)
        noise = np.random.default_rng(0).integers(-1000, 3000, (16, 512, 512)).astype(np.int16)
        write_series(scratch / "series", noise, [index % 16 for index in range(SLICES)], uid.ExplicitVRLittleEndian)
        write_enhanced(scratch / "enhanced", noise)
        for name, folder, apart, pdu in (
            ("one association, PDU of 16 KiB", "series", 1, 16_384),
            ("one association, PDU of 128 KiB", "series", 1, 131_072),
            ("four associations at once, a quarter each, PDU of 128 KiB", "series", 4, 131_072),
            ("one enhanced instance of 554 frames, PDU of 128 KiB", "enhanced", 1, 131_072),
        ):
            files = sorted((scratch / folder).iterdir())
            for kind in ("node", "storescp"):
                with receiving(kind, scratch / "received", pdu) as receiver:
                    rows.append(f"| {name} | {kind} {measured(receiver, files, apart, own=kind == 'node')}")
                print(rows[-1], flush=True)
                shutil.rmtree(scratch / "received")
    lines = [
        "# Receiving a series of 512 x 512 x 554 by C-STORE",
        "",
        dated("dicom_node.py", "pynetdicom", "pydicom"),
        "",
        "Sender: `storescu` of DCMTK on the same machine, uncompressed slices of noise with 258 elements each. Seconds "
        "are from the sender's start to its end; the node then has every instance in its spool under its name. Memory "
        "is what the process held more than before the first byte, at most. `storescp` works in a child for each "
        "association, so that these two are not told of it; its seconds are those of its settings as they come, with "
        "which it waits for the network between messages.",
        "",
        "| how | receiver | s | instances a second | MB a second | processor time of the receiver (s) | memory (MiB) |",
        "|:---|:---|---:|---:|---:|---:|---:|",
        *rows,
    ]
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def measured(receiver: Receiver, files: list[Path], apart: int, *, own: bool) -> str:
    """Send files in so many groups at once; the rest of a row, with time and memory if the process does it itself."""
    before, spent, began = receiver.memory_mib("VmRSS"), receiver.spent_s(), time.perf_counter()
    command = ["storescu", "-aec", "FLARE", "--max-pdu", "131072", "127.0.0.1", str(receiver.port)]
    senders = [subprocess.Popen([*command, *files[start::apart]]) for start in range(apart)]
    if any(sender.wait(LONGEST_S) for sender in senders):
        raise SystemExit("a sender failed")
    seconds = time.perf_counter() - began
    if receiver.taken() != len(files):
        raise SystemExit(f"{receiver.taken()} of {len(files)} came")
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    time_and_memory = (
        f"{receiver.spent_s() - spent:.1f} | {receiver.memory_mib('VmHWM') - before:.0f}" if own else " | "
    )
    return f"| {seconds:.1f} | {len(files) / seconds:.1f} | {megabytes / seconds:.0f} | {time_and_memory} |"


@contextmanager
def receiving(kind: str, folder: Path, pdu: int) -> Iterator[Receiver]:
    """A receiver that listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir()
    if kind == "node":
        command = [sys.executable, "-c", NODE, str(folder), str(port), str(pdu)]
        place = folder / "dicom" / "series"
    else:
        command = ["storescp", "-aet", "FLARE", "--fork", "-pdu", str(min(pdu, 131_072)), "-od", str(folder), str(port)]
        place = folder
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            if kind == "node" and process.stdout is not None:
                process.stdout.readline()
            else:
                time.sleep(1)
            yield Receiver(process, port, lambda: sum(path.is_file() for path in place.rglob("*")))
        finally:
            process.kill()


def write_enhanced(folder: Path, noise: "np.ndarray[tuple[int, ...], np.dtype[np.int16]]") -> None:
    """Write one instance of all frames; it says no places, which nobody needs to receive it."""
    folder.mkdir()
    ds = pydicom.dcmread(next((folder.parent / "series").iterdir()))
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = uid.EnhancedCTImageStorage
    ds.NumberOfFrames = SLICES
    planes = (noise + 1024).astype(np.uint16)
    ds.PixelData = b"".join(planes[index % 16].tobytes() for index in range(SLICES))
    ds.save_as(folder / "enhanced.dcm")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
