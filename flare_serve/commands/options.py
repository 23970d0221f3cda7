"""The options of `flare-infer serve`, each with its help."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Address: TypeAlias = Annotated[str, typer.Option(help="Listen on this address; any but this machine's needs a token.")]
Port: TypeAlias = Annotated[int, typer.Option(min=0, max=65535, help="Listen on this port; 0 takes a free one.")]
SpoolFolder: TypeAlias = Annotated[
    Path | None, typer.Option(help="Folder of uploads and results (default: FLARE_SPOOL, else one of the account).")
]
TokenFile: TypeAlias = Annotated[
    Path | None, typer.Option(help="File with the token that clients have to know (default: FLARE_TOKEN_FILE).")
]
NewToken: TypeAlias = Annotated[bool, typer.Option("--new-token", help="Make a token and print it.")]
HostName: TypeAlias = Annotated[
    list[str] | None, typer.Option(help="A name under which clients ask for it; needs a token; repeat it for several.")
]
Devices: TypeAlias = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; several, divided by commas.")]
Queue: TypeAlias = Annotated[int, typer.Option(min=1, help="Jobs that may wait.")]
UploadMib: TypeAlias = Annotated[int, typer.Option(min=1, metavar="MIB", help="The largest upload.")]
UploadSeconds: TypeAlias = Annotated[float, typer.Option(min=1, help="How long an upload may last.")]
IdleSeconds: TypeAlias = Annotated[float, typer.Option(min=0.1, help="How long an upload may stand still.")]
KeepDays: TypeAlias = Annotated[float, typer.Option(min=0, help="How long a job is kept after its end.")]
KeepGib: TypeAlias = Annotated[float, typer.Option(min=0, metavar="GIB", help="How much kept jobs may take.")]
FreeMib: TypeAlias = Annotated[int, typer.Option(min=1, metavar="MIB", help="How much of the disk stays free.")]
Grace: TypeAlias = Annotated[float, typer.Option(min=0, help="Seconds that running jobs have when it ends.")]
Debug: TypeAlias = Annotated[bool, typer.Option(help="Log tracebacks of unexpected errors.")]
DicomPort: TypeAlias = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port of a DICOM node that takes series; without it there is none.")
]
DicomTitle: TypeAlias = Annotated[str | None, typer.Option(help="AE title of the DICOM node (default: FLARE).")]
Allow: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="AET@ADDRESS", help="Who may send to the DICOM node, * for any title; repeat it."),
]
QuietSeconds: TypeAlias = Annotated[
    float | None, typer.Option(min=0, help="A series is complete when nothing of it came for so long (default: 30).")
]
SendTo: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TARGET",
        help="Send results of DICOM series to dicom://AET@host:port or https://.../studies; repeat it.",
    ),
]
DicomSettings: TypeAlias = Annotated[Path | None, typer.Option(help="File in TOML with these settings and more.")]
