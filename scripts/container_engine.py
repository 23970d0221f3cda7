"""The program that builds and runs images on this machine: Docker, else buildah and podman from Debian's packages."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

TOOLS: Final = ("buildah", "podman", "runc", "debootstrap")
"""What is needed without Docker; also the names of Debian's packages."""

SUITE: Final = "bookworm"
"""The Debian that a base is made of; its Python is 3.11."""

DEBIAN_BASE: Final = "localhost/flare-debian-base"
"""The name under which such a base is kept."""

LIMITS: Final = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096")
"""podman asks for more than a process without CAP_SYS_RESOURCE may have, as inside another container."""


class ImageBuildError(Exception):
    """An image cannot be built here; the text is one line for the user."""


@dataclass(frozen=True, kw_only=True)
class PipSources:
    """Sources from which pip on this machine takes packages; a build reads them, and the image does not keep them.

    Attributes:
        settings: options of pip's configuration, by name.
        paths: files and folders of this machine that the options name.
    """

    settings: Mapping[str, str]
    paths: Sequence[Path]

    def text(self, *, with_paths: bool) -> str:
        """The content of a pip.conf. `with_paths` is for a build that can see files of this machine."""
        lines = ["[global]"]
        for name, value in self.settings.items():
            words = [word for word in value.split() if with_paths or not word.startswith("/")]
            if words:
                lines.append(f"{name} = {' '.join(words)}")
        return "\n".join([*lines, ""])


@dataclass(frozen=True, kw_only=True)
class Engine:
    """The programs that build and run images on this machine.

    Attributes:
        name: program that runs images, docker or podman.
        control: words of its command before the subcommand.
        builder: words of the command that builds, before its options.
        run_options: options that every `run` needs on this machine.
        mounts_paths: whether a build can see files of this machine that are not in its context.
    """

    name: str
    control: Sequence[str]
    builder: Sequence[str]
    run_options: Sequence[str]
    mounts_paths: bool

    def build(self, context: Path, tag: str, arguments: Mapping[str, str], pip: PipSources | None = None) -> None:
        """Build the Dockerfile of a folder.

        Raises:
            ImageBuildError: if it fails; its own messages went to the terminal.
        """
        command = [*self.builder, "--tag", tag]
        for name, value in arguments.items():
            command += ["--build-arg", f"{name}={value}"]
        with tempfile.TemporaryDirectory() as folder:
            if pip is not None and pip.settings:
                secret = Path(folder) / "pip.conf"
                secret.write_text(pip.text(with_paths=self.mounts_paths), encoding="utf-8")
                command += ["--secret", f"id=pip,src={secret}"]
                command += [f"--volume={path}:{path}:ro" for path in pip.paths if self.mounts_paths]
            if subprocess.run([*command, str(context)], check=False).returncode != 0:
                raise ImageBuildError(f"{tag}: the build failed, messages above")

    def run_command(self, image: str, command: Sequence[str] = (), options: Sequence[str] = ()) -> list[str]:
        """The command that runs an image once; the form that the challenge uses."""
        return [*self.control, "container", "run", "--rm", *self.run_options, *options, image, *command]

    def run(
        self, image: str, command: Sequence[str] = (), options: Sequence[str] = (), stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run an image once and collect what it prints."""
        return subprocess.run(
            self.run_command(image, command, options), input=stdin, capture_output=True, text=True, check=False
        )

    def inspect(self, image: str) -> dict[str, Any]:
        """The engine's description of an image; its `Config` holds what a start reads.

        Raises:
            ImageBuildError: if there is no such image.
        """
        found = subprocess.run([*self.control, "image", "inspect", image], capture_output=True, text=True, check=False)
        if found.returncode != 0:
            raise ImageBuildError(f"{image}: {last_line(found.stderr)}")
        description: dict[str, Any] = json.loads(found.stdout)[0]
        return description

    def import_root(self, root: Path, tag: str) -> None:
        """Make an image of one layer.

        Args:
            root: folder that holds a root file system.
            tag: name of the image.
        """
        with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as archive:
            command = [*self.control, "import", "-", tag]
            done = subprocess.run(command, stdin=archive.stdout, capture_output=True, text=True, check=False)
        if done.returncode != 0 or archive.returncode != 0:
            raise ImageBuildError(f"{tag}: the base could not be imported ({last_line(done.stderr)})")


def find_engine(storage: Path | None = None) -> Engine | None:
    """The engine of this machine, or None.

    Args:
        storage: folder in which podman keeps its images; None for its own. Docker does not use it.
    """
    if shutil.which("docker"):
        server = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, check=False
        )
        if server.returncode == 0:
            return Engine(
                name="docker",
                control=["docker"],
                builder=["docker", "build"],
                run_options=[],
                mounts_paths=False,
            )
    if not all(shutil.which(tool) for tool in TOOLS[:3]):
        return None
    place = [] if storage is None else ["--root", str(storage / "root"), "--runroot", str(storage / "run")]
    # runc, since it also runs where both versions of cgroups are mounted; without systemd podman makes cgroups itself.
    manager = [] if Path("/run/systemd/system").exists() else ["--cgroup-manager=cgroupfs"]
    return Engine(
        name="podman",
        control=["podman", *place, "--runtime=runc", *manager],
        builder=["buildah", *place, "bud", "--isolation=chroot"],
        run_options=LIMITS,
        mounts_paths=True,
    )


def install_tools() -> str:
    """Install what is needed without Docker from Debian's packages.

    Returns:
        one line that says why it failed; empty if it did not.
    """
    if not (os.geteuid() == 0 and shutil.which("apt-get")):
        return "no Docker engine, and buildah and podman can be installed by root on Debian only"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", *TOOLS]):
        done = subprocess.run(["apt-get", *step], env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return f"apt-get {step[0]} failed ({last_line(done.stderr)})"
    return ""


def make_debian_base(engine: Engine) -> str:
    """Make an image of a slim Debian with Python, unless there is one, for machines that reach no registry.

    Returns:
        name of the image.

    Raises:
        ImageBuildError: if it cannot be made.
    """
    present = subprocess.run([*engine.control, "image", "inspect", DEBIAN_BASE], capture_output=True, check=False)
    if present.returncode == 0:
        return DEBIAN_BASE
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise ImageBuildError("a Debian base is made by debootstrap as root; install it, or name an image as the base")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        command = [
            "debootstrap",
            "--variant=minbase",
            "--include=python3,python3-venv,ca-certificates",
            SUITE,
            str(root),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ImageBuildError(f"debootstrap failed ({last_line(done.stderr or done.stdout)})")
        _slim(root)
        engine.import_root(root, DEBIAN_BASE)
    return DEBIAN_BASE


def pip_sources() -> PipSources:
    """The sources of pip on this machine: addresses, folders of wheels and certificate in its configuration."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    settings: dict[str, str] = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        option = name.removeprefix(":env:.").removeprefix("global.")
        if option in {"index-url", "extra-index-url", "find-links", "trusted-host", "cert"}:
            words = value.strip("'\"").replace("\\n", " ").split()
            # An index in a folder is read with its neighbors, which no single path names.
            kept = [word for word in words if not word.startswith("file:")]
            if kept:
                settings.setdefault(option, " ".join(kept))
    paths = [Path(word) for value in settings.values() for word in value.split() if Path(word).is_absolute()]
    return PipSources(settings=settings, paths=[path for path in paths if path.exists()])


def last_line(text: str) -> str:
    """The last line of a program's messages that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def _slim(root: Path) -> None:
    """Remove documents (licences stay), translations and lists of packages, as slim images do."""
    share = root / "usr/share"
    for folder in ("man", "info", "locale", "lintian"):
        shutil.rmtree(share / folder, ignore_errors=True)
    for folder in (root / "var/lib/apt/lists", root / "var/cache/apt"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for path in (share / "doc").rglob("*"):
        if (path.is_file() or path.is_symlink()) and path.name != "copyright":
            path.unlink()
