"""How a case stands that other processes work on, too."""

from dataclasses import replace
from typing import Final

from flare_infer.runs.case_result import CaseResult
from flare_infer.runs.claims import Claims
from flare_infer.runs.report import Records

MOST_STARTS: Final = 8
"""A case that so many processes started and none ended is what ends them: it fails."""


def tried_again_last(starts: int) -> str:
    """The line on a case that an earlier run started so often and never ended."""
    times = "was started by an earlier run and never ended" if starts < 2 else (
        f"was started {starts} times and never ended: it may be what ends the program (out of memory? "
        "--ram-budget bounds it)"
    )  # fmt: skip
    return f"{times}; tried again after the others"


def given_up(image: str, starts: int) -> str:
    """Why a case fails that was started so often: what ends all that try it is most likely the case itself."""
    return f"{image}: was started {starts} times and never ended; does it end the program (out of memory)?"


def claimed(claims: Claims, ledger: Records, name: str, *, last: bool) -> tuple[int, CaseResult | None]:
    """Claim a case; if that does not succeed, how it stands with other processes.

    A case that another process started and did not end is put off until it is the last one, and then it is alone: what
    ended that process must not keep other cases waiting.

    Args:
        claims: the claims of this process.
        ledger: the records of all cases.
        name: name of the case.
        last: whether all other cases are done.

    Returns:
        how many processes have started it, this one included; and its result, if this process has nothing to do.
    """
    result = CaseResult(name=name, output=None, seconds=0.0, elsewhere=True)
    if claims.has_failed(name):
        ledger.refresh()
        return 0, replace(result, elsewhere=False, reason=ledger.record(name).reason or f"{name}: failed elsewhere")
    starts = claims.take(name)
    if starts > MOST_STARTS:
        reason = given_up(ledger.record(name).image, starts - 1)
        ledger.ended(replace(ledger.record(name), status="failed", reason=reason))
        claims.drop(name, failed=True)
        return starts, replace(result, elsewhere=False, reason=reason)
    if starts > 1 and not last:
        claims.drop(name, interrupted=True)
        return starts, result
    return starts, None if starts else result
