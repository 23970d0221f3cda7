"""A node that is killed loses nothing that it acknowledged."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.dicom.series import Made
from tests.flare_serve.node.senders import Site, associated, free_port, sent, slices, until

CHILD = """
import sys, threading
from pathlib import Path
from tests.flare_serve.node.senders import Site
site = Site(Path(sys.argv[1]))
site.start(port=int(sys.argv[2]), released_seconds=60.0)
print("ready", flush=True)
threading.Event().wait(120)
"""


def test_a_series_survives_the_end_of_the_process_between_its_instances_and_before_its_job(tmp_path: Path) -> None:
    instances, port = slices(Made()), free_port()
    command = [sys.executable, "-c", CHILD, str(tmp_path), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            with associated(port) as association:
                assert sent(association, instances[:4]) == {0}
            with associated(port) as association:
                assert sent(association, instances[4:8]) == {0}
                os.kill(child.pid, signal.SIGKILL)
                child.wait(30)
        finally:
            child.kill()
    site = Site(tmp_path)
    site.start()
    try:
        assert site.jobs() == []
        with associated(site.node.port) as association:
            assert sent(association, instances[6:]) == {0}
        (job,) = until(site.jobs)
        assert len(site.instances(job)) == len(instances)
    finally:
        site.stop()
