"""The options of `flare-infer predict`, each with its help."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Inputs: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="PATH", help="Folder of CTs (NIfTI, MHA, NRRD, DICOM), or one file or zip; or its URL."),
]
Outputs: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="PATH", help="Folder for label maps, X_0000.nii.gz becomes X.nii.gz; or a file, or a URL."),
]
Weights: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Folder of a model, or its name if it came along (default: FLARE_WEIGHTS, else that one)."),
]
To: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="FORMS",
        help="Forms, divided by commas: nifti (always written), dicom-seg, rtstruct, masks, color-table.",
    ),
]
Labelmap: TypeAlias = Annotated[
    bool, typer.Option("--labelmap", help="DICOM SEG of the type LABELMAP: smaller, known to newer readers only.")
]
Organs: TypeAlias = Annotated[
    str, typer.Option(metavar="NAMES", help="Classes for dicom-seg, rtstruct and masks, divided by commas.")
]
Statistics: TypeAlias = Annotated[
    bool, typer.Option("--statistics", help="Write NAME.statistics.json for each case, statistics.csv for all.")
]
Preview: TypeAlias = Annotated[
    bool, typer.Option("--preview", help="Write a picture, NAME.preview.png, for each case.")
]
Report: TypeAlias = Annotated[
    bool,
    typer.Option("--report", help="Write a page of each case, NAME.report.html, index.html, and statistics."),
]
Device: TypeAlias = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Precision: TypeAlias = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")]
Backend: TypeAlias = Annotated[str, typer.Option(help="auto, torch or openvino (CPU; extra `cpu`).")]
GpuBudget: TypeAlias = Annotated[
    int | None, typer.Option(min=1, metavar="MIB", help="Bound on GPU memory (default: what is free).")
]
RamBudget: TypeAlias = Annotated[
    int | None, typer.Option(min=1, metavar="MIB", help="Bound on the memory of the process (default: none).")
]
SeriesChoice: TypeAlias = Annotated[
    str, typer.Option(help="DICOM: all, largest (of each study), or a SeriesInstanceUID or name of a case.")
]
FillGaps: TypeAlias = Annotated[bool, typer.Option("--fill-gaps", help="DICOM: interpolate one missing slice.")]
KeepIdentity: TypeAlias = Annotated[
    bool, typer.Option("--keep-identity", help="DICOM: names of cases begin with the PatientID.")
]
Again: TypeAlias = Annotated[bool, typer.Option("--again", help="Segment every case, even if its label map is there.")]
Skip: TypeAlias = Annotated[bool, typer.Option(help="Pass over windows of air and windows without organs.")]
Share: TypeAlias = Annotated[
    bool, typer.Option("--share", help="Share the work with other processes that are started so on the same folders.")
]
Part: TypeAlias = Annotated[
    str, typer.Option(metavar="I/N", help="Do part I of N; auto: from Slurm's or Kubernetes' variables. Like --share.")
]
Estimate: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Do three cases only, and say what the rest costs with N processes."),
]
Ray: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS",
        help="Have workers of a Ray cluster do the cases; auto: that of RAY_ADDRESS, else this machine (extra `ray`).",
    ),
]
WorkerCpus: TypeAlias = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Ray: CPUs of each worker (default: an even share of a machine).")
]
GpuFraction: TypeAlias = Annotated[
    float | None,
    typer.Option(min=0.0, metavar="PART", help="Ray: part of a GPU of each worker (default: 1 if there are some)."),
]
Verbose: TypeAlias = Annotated[bool, typer.Option(help="Print the plan of memory for each case.")]
Debug: TypeAlias = Annotated[bool, typer.Option(help="Show the traceback of an unexpected error.")]
