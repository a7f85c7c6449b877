"""`--plot FILE`: what is refused before anything is solved, and what stands in the files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from tests.servers import ROOT
from tests.streams.harness import Pipeline, pipeline, settings_for
from tests.streams.pictures.test_draw import texts

QMOSAIC = [sys.executable, "-m", "qmosaic.streams.cli.main"]
SQUARE = "4 4\n1 2 1\n2 3 1\n3 4 1\n4 1 1\n"
TWO = (
    '[{"family":"maxcut","problem":{"edges":[["<b>$x$</b>","\\u202eb"]]},"labels":{"name":"</title><script>x"}},'
    '{"family":"maxcut","problem":{"edges":[[0,0]]}},'
    '{"family":"labs","problem":{"n":7}}]'
)


def run(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*QMOSAIC, *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80", "PYTHONPATH": str(ROOT / "src"), **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("plot", "words"),
    [
        ("out.gif", "'.gif' file (--plot). Choose one of: .html, .png, .svg."),
        ("out.sgv", "Did you mean .svg?"),
        ("out", "out has no ending"),
        ("there.svg", "there.svg is there already"),
        ("link.png", "link.png is there already"),
        ("absent/out.svg", "absent is no folder"),
        ("there.svg/out.svg", "there.svg is no folder"),
    ],
)
@pytest.mark.parametrize("command", [["solve"], ["submit", "--wait"]])
def test_a_file_that_cannot_be_is_said_first(command: list[str], plot: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.rud").write_text(SQUARE)
    (tmp_path / "there.svg").write_text("kept")
    (tmp_path / "link.png").symlink_to("nowhere")
    done = run(*command, "x.rud", "--plot", plot, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: invalid_settings: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "there.svg").read_text() == "kept"


def test_one_of_several_files_is_there(tmp_path: Path) -> None:
    (tmp_path / "two.json").write_text(TWO)
    (tmp_path / "out-3.svg").touch()
    done = run("solve", "two.json", "--plot", "out.svg", cwd=tmp_path)
    assert done.returncode == 2
    assert "out-3.svg is there already" in done.stderr


def test_too_many_and_without_waiting(tmp_path: Path) -> None:
    (tmp_path / "many.json").write_text(json.dumps([{"family": "labs", "problem": {"n": 7}}] * 51))
    done = run("solve", "many.json", "--plot", "out.svg", cwd=tmp_path)
    assert done.returncode == 2
    assert "pictures are drawn of 50 at most" in done.stderr
    done = run("submit", "many.json", "--plot", "out.svg", cwd=tmp_path)
    assert done.returncode == 2
    assert "Add --wait" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "x.rud").write_text(SQUARE)
    (tmp_path / "shut").mkdir(mode=0o500)
    done = run("solve", "x.rud", "--plot", "shut/out.svg", cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot write into shut" in done.stderr


def test_without_matplotlib_the_remedy_is_its_extra(tmp_path: Path) -> None:
    (tmp_path / "x.rud").write_text(SQUARE)
    code = "import sys; sys.modules['matplotlib'] = None; from qmosaic.streams.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "solve", "x.rud", "--plot", "out.svg"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "matplotlib is not installed (--plot). Run: pip install 'qmosaic[plot]'." in done.stderr


@pytest.fixture(scope="module")
def running(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    from qmosaic.streams.topology import STAGES

    with pipeline(settings_for(broker, tmp_path_factory.mktemp("pictures")), list(STAGES)) as up:
        yield up


def environment(up: Pipeline) -> dict[str, str]:
    return {
        "QMOSAIC_BROKER": up.settings.broker,
        "QMOSAIC_NAMESPACE": up.settings.namespace,
        "QMOSAIC_TOPICS__PARTITIONS": str(up.settings.topics.partitions),
    }


class Page(HTMLParser):
    """Its elements and their attributes; its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.said.append(data)


@pytest.mark.broker
def test_a_picture_of_one(running: Pipeline, tmp_path: Path) -> None:
    env = environment(running)
    (tmp_path / "square.rud").write_text(SQUARE)
    command = ["submit", "square.rud", "--wait", "--deadline", "20", "--json", "--plot"]
    done = run(*command, "cut.svg", cwd=tmp_path, **env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["objective"] == 4
    assert done.stderr == "wrote cut.svg\n"
    said = texts((tmp_path / "cut.svg").read_bytes())
    assert {"square", "4", "accepted", "max-cut of 4 nodes and 4 edges"} <= set(said)
    done = run(*command, "cut.PNG", cwd=tmp_path, **env)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "cut.PNG") as image:
        assert image.size == (1296, 864)


@pytest.mark.broker
def test_pictures_of_several(running: Pipeline, tmp_path: Path) -> None:
    env = environment(running)
    (tmp_path / "two.json").write_text(TWO)
    done = run("submit", "two.json", "--wait", "--deadline", "20", "--plot", "out.svg", cwd=tmp_path, **env)
    assert done.returncode == 3  # one was rejected
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out-1.svg", "out-3.svg"]
    assert "which was rejected" in done.stderr
    said = texts((tmp_path / "out-1.svg").read_bytes())
    assert {"<b>$x$</b>", "\\u202eb"} <= set(said)
    assert "merit factor" in " ".join(texts((tmp_path / "out-3.svg").read_bytes()))


@pytest.mark.broker
def test_a_page_stands_by_itself(running: Pipeline, tmp_path: Path) -> None:
    env = environment(running)
    (tmp_path / "two.json").write_text(TWO)
    done = run("submit", "two.json", "--wait", "--deadline", "20", "--plot", "out.html", cwd=tmp_path, **env)
    assert done.returncode == 3
    text = (tmp_path / "out.html").read_text()
    page = Page(text)
    tags = [tag for tag, _ in page.elements]
    assert not {"script", "link", "img", "iframe", "a", "b", "object"} & set(tags)
    assert tags.count("svg") == 4  # light and dark of two
    assert not re.search(r"(?:src|href)=\"(?!#|data:image/png;base64,)", text)
    assert not re.search(r"url\((?!#)", text)
    (policy,) = (one["content"] for tag, one in page.elements if tag == "meta" and "http-equiv" in one)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "A self-loop can never be cut".lower() in " ".join(page.said).lower()
    assert "merit factor" in " ".join(page.said)
    assert "\u202e" not in text
