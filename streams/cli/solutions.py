"""`--write FOLDER`: solutions as files, where their format has such."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qmosaic.codecs.errors import SettingsError
from qmosaic.codecs.events.public import Outcome, Rejection
from qmosaic.codecs.formats.registry import writer
from qmosaic.streams.cli.common import USAGE, fail, say
from qmosaic.streams.cli.files import file_name, write_within
from qmosaic.streams.observe.words import label_of


def write_solutions(folder: Path | None, problems: list[dict[str, Any]], results: list[Outcome | Rejection]) -> None:
    """The solutions of outcomes as files, named after their problems."""
    if folder is None:
        return
    payloads = {event["id"]: event["problem"] for event in problems}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in results:
            if isinstance(one, Rejection) or one.solution is None or one.objective is None:
                continue
            write = writer(one.family)
            if write is None:
                say(f"note: no format of {one.family[:60]} has files of solutions")
                continue
            name = file_name(str(one.labels.get("name") or one.problem_id))
            try:
                suffix, text = write(payloads[one.problem_id], one.solution, one.objective, name)
            except (LookupError, TypeError, AttributeError):  # whoever wrote the outcome, it is none of this problem
                say(f"note: the solution of {label_of(one)} does not fit the problem")
                continue
            say(f"wrote {write_within(folder, name + suffix, text)}")
    except OSError as error:
        fail(SettingsError(f"cannot write {folder}: {error.strerror}", place="--write"), USAGE)
    except SettingsError as error:
        fail(error, USAGE)
