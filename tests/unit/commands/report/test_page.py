"""What is read, refused and written, without a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradviz.commands.report.field_section import contours_of
from gradviz.commands.report.inputs import ComparedRuns, InspectedFlow, read_input
from gradviz.commands.report.page import report
from gradviz.errors import UsageError
from gradviz.heatmap.views import VIEWS
from gradviz.runs.reader import FieldResults, SaliencyResults
from gradviz.runs.resume import RunWriter
from gradviz.runs.schema import parse_line
from tests.helpers import documents, runs
from tests.helpers.paths import ROOT

G = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)

FLOW = documents.inspect_document(
    [
        {"name": "first", "shape": [1, 4, 8, 8], "stride": [1, 1], "activation": 2.0,
         "gradient": None, "dead": 0.75},
        {"name": "last", "shape": [1, 2], "stride": None, "activation": 1.0, "gradient": 0.125,
         "dead": None},
    ],
    warnings=["no gradient reaches first"],
)  # fmt: skip


class Page(HTMLParser):
    """The elements of a page, and the texts of its scripts by id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: dict[str | None, str] = {}
        self._script: str | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self._script = dict(attributes).get("id") or f"{tag} {len(self.elements)}"

    def handle_endtag(self, tag: str) -> None:
        self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page_of(*told: Any) -> Page:
    return Page(report([read_input(str(each)) for each in told], images=True).html)


def data_of(page: Page) -> Any:
    return json.loads(page.scripts["data"], parse_constant=pytest.fail)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made: Path = runs.saliency_run(
        tmp_path / "run",
        {("a.png", "ones"): G, ("b.png", "ones"): 2 * G},
        pictures={"a.png": runs.picture(tmp_path / "a.png", 5, 4)},
        lines={("b.png", "ones"): {"warnings": ["all is <b>not</b> well"]}},
        failures={("c.png", "ones"): "c.png: not an image"},
    )
    return made


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    path = tmp_path / "flow.json"
    path.write_text(json.dumps(FLOW))
    return path


@pytest.fixture
def field_run(tmp_path: Path) -> Path:
    """One field of 5 by 4 pixels, in a network where it is global."""
    run = tmp_path / "fields"
    files = {f"{name}.npy": f"{name}.npy" for name in ("structural", "local", "effective")}
    field = documents.field("noise", (1, 1), files, status="partial", lost_at=["Where"],
                            local={"area": 0}, **{"global": True})  # fmt: skip
    store = RunWriter(run)
    store.begin(runs.record("receptive-field", []))
    store.append(parse_line(documents.field_done("noise", "pixel:1,1", files)))
    for name, array in zip(files, (G[0] > 0, G[0] > 0, np.abs(G[0])), strict=True):
        np.save(run / name, array)
    np.save(run / "boxes.npy", np.zeros((4, 5, 4), np.int32))
    geometry = documents.geometry(global_through="mean")
    document = documents.field_document([field], geometry=geometry)
    (run / "field.json").write_text(json.dumps(document))
    return run


# Reading


def test_arguments_are_recognised_by_content(
    tmp_path: Path, run: Path, field_run: Path, flow: Path
) -> None:
    assert type(read_input(str(run))) is SaliencyResults
    assert type(read_input(str(flow))) is InspectedFlow
    document = runs.compare_document(tmp_path / "odd name", (run, run), [])
    assert type(read_input(str(document))) is ComparedRuns
    runs.compare_document(tmp_path / "compare.json", (run, run), [])
    assert type(read_input(str(tmp_path))) is ComparedRuns
    assert type(read_input(str(field_run))) is FieldResults


def test_a_comparison_is_of_two_runs_that_are_there(tmp_path: Path, run: Path) -> None:
    document = runs.compare_document(tmp_path / "c.json", (run, tmp_path / "gone"), [])
    with pytest.raises(UsageError, match=r"gone: holds no run\.json"):
        read_input(str(document))
    told = page_of(runs.compare_document(tmp_path / "c.json", (run, run), [])).text
    assert told.count("gradviz saliency net.ts 'a photo.png'") == 1
    document = runs.compare_document(tmp_path / "c.json", (run,), [])
    with pytest.raises(UsageError, match=r"a damaged document of compare \(runs: "):
        read_input(str(document))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        ("{", "neither a run's folder nor JSON"),
        ("[]", "not of gradviz; name a run's folder"),
        ("{}", "not of gradviz; name a run's folder"),
        ('{"kind": "check", "schema": 1}', "a damaged document of check (no ok); write it again"),
        ('{"kind": "saliency"}', "has the numbers only; name the folder"),
        ('{"kind": "inspect", "schema": 1}', "a damaged document of inspect (no model); write it"),
        (json.dumps({**FLOW, "layers": [{"name": "a"}]}), "inspect (no layers.0.shape); write"),
        (json.dumps({**FLOW, "layers": [1]}), "inspect (layers.0: Input should be"),
        (json.dumps({**FLOW, "seed": 1}), "inspect (seed: expected a text); write it again"),
        ('{"kind": "compare", "schema": 1, "ok": true}', "compare (no metric); write it again"),
    ],
)
def test_what_is_no_document(tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "document.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=re.escape(says)):
        read_input(str(path))


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no run\.json.*name the folder"):
        read_input(str(tmp_path))


def test_a_damaged_result_is_named(run: Path) -> None:
    lines = (run / "results.jsonl").read_text()
    (run / "results.jsonl").write_text(lines.replace('"warnings"', '"earnings"'))
    with pytest.raises(UsageError, match=r"results\.jsonl:1: not a result \(no warnings\); run it"):
        read_input(str(run))


def test_an_array_that_is_gone_or_damaged_is_told_and_the_rest_is_shown(run: Path) -> None:
    (run / "r0/s/gradient.npy").write_bytes(b"no array")
    made = report([read_input(str(run))], images=True)
    assert len(made.notes) == 2  # the array of a, the picture of b
    assert "r0/s/gradient.npy: damaged" in made.notes[0]
    assert [each["image"] for each in data_of(Page(made.html))["maps"]] == ["b.png"]


def test_no_file_outside_the_folder_is_shown(tmp_path: Path, run: Path) -> None:
    np.save(tmp_path / "secret.npy", G)
    (run / "r0/s/gradient.npy").unlink()
    (run / "r0/s/gradient.npy").symlink_to(tmp_path / "secret.npy")
    made = report([read_input(str(run))])
    assert "outside the run's folder" in made.notes[0]
    assert len(data_of(Page(made.html))["maps"]) == 1
    lines = (run / "results.jsonl").read_text()
    (run / "results.jsonl").write_text(lines.replace("r0/s/gradient.npy", "../secret.npy"))
    with pytest.raises(UsageError, match="is outside the folder"):
        read_input(str(run))


def test_no_picture_outside_the_folder_is_shown(tmp_path: Path, run: Path) -> None:
    lines = (run / "results.jsonl").read_text()
    named = '"files": {"heatmap": "../a.png"}'
    (run / "results.jsonl").write_text(
        lines.replace('"files": {"gradient": "r0/s/gradient.npy"}', named)
    )
    with pytest.raises(UsageError, match=r"a\.png is outside the folder"):
        read_input(str(run))


def test_channels_are_put_into_the_pictures_order(tmp_path: Path) -> None:
    run = runs.saliency_run(tmp_path / "run", {("a.png", "s"): G, ("b.png", "s"): G[:2]})
    (rgb, _) = data_of(page_of(run))["maps"]
    record = json.loads((run / "run.json").read_text())
    record["preprocess"]["channels"] = "bgr"
    (run / "run.json").write_text(json.dumps(record))
    page = page_of(run)
    (bgr, two) = data_of(page)["maps"]
    assert rgb["whole"] and bgr["whole"] and not two["whole"]

    def planes(drawn: dict[str, Any], texts: dict[str | None, str]) -> Any:
        data = np.frombuffer(zlib.decompress(base64.b64decode(texts[drawn["data"]])), np.uint8)
        upper, lower = data.reshape(2, -1).astype(int)
        return ((upper << 8 | lower) ^ 0x8000) - 0x8000

    assert np.abs(planes(bgr, page.scripts) * bgr["step"] - G[::-1].ravel()).max() < 1e-4


def test_the_scale_of_the_run_is_chosen(run: Path) -> None:
    def chosen() -> list[str | None]:
        return [
            attributes["value"]
            for tag, attributes in page_of(run).elements
            if tag == "option" and "selected" in attributes
        ]

    assert chosen() == []
    record = json.loads((run / "run.json").read_text())
    record["settings"]["scale"] = "shared"
    (run / "run.json").write_text(json.dumps(record))
    assert chosen() == ["shared"]


def test_a_field_is_told_with_its_warnings(field_run: Path) -> None:
    page = page_of(field_run)
    assert "Global, through mean." in page.text
    assert "more may matter than is shown, because of Where" in page.text
    assert "the gradient is zero, though pixels can matter" in page.text
    (explorer,) = data_of(page)["explorers"]
    assert explorer["boxes"]["size"] == [5, 4] and explorer["fields"][0]["extent"] == [5, 4]


def test_boxes_of_too_many_pixels_are_left_out(
    field_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradviz.commands.report.field_section.MOST_BOXES", 19)
    page = page_of(field_run)
    assert data_of(page)["explorers"][0]["boxes"] is None
    assert "the boxes of 5x4 output pixels are too many" in page.text


def test_the_arrays_of_all_parts_count(
    tmp_path: Path, run: Path, field_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = documents.item("a.png", "ones")
    document = runs.compare_document(tmp_path / "c.json", (run, run), [item])
    monkeypatch.setattr("gradviz.commands.report.page_data.BUDGET", 10)
    for each in (run, document):
        with pytest.raises(UsageError, match="report fewer runs"):
            report([read_input(str(each))])


def test_a_picture_that_has_changed_is_not_shown(tmp_path: Path, run: Path) -> None:
    assert data_of(page_of(run))["maps"][0]["picture"] is not None
    runs.picture(tmp_path / "a.png", 50, 40)
    page = page_of(run)
    assert data_of(page)["maps"][0]["picture"] is None
    assert "has changed since the run" in page.text


def test_pictures_outside_the_folders_of_runs_need_consent(
    gradviz: Any, tmp_path: Path, run: Path
) -> None:
    """A stranger's run.json may name any picture of the disk."""
    item = documents.item("a.png", "ones")
    document = runs.compare_document(tmp_path / "c.json", (run, run), [item])
    for each in (run, document):
        result = gradviz("report", each, "-o", "page.html")
        text = Path("page.html").read_text()
        assert result.exit_code == 0 and "data:image/jpeg" not in text
        (said,) = [row for row in result.stderr.splitlines() if "outside" in row]
        assert said.startswith("warning: ") and "--images" in said
        assert said.removeprefix("warning: ") in Page(text).text
        result = gradviz("report", each, "--images", "-o", "page.html")
        assert "outside" not in result.stderr
        assert "data:image/jpeg" in Path("page.html").read_text()


@pytest.mark.parametrize("link", [False, True])
def test_a_picture_inside_the_folder_of_its_run_needs_none(
    link: bool, tmp_path: Path, run: Path
) -> None:
    inside = run / "a.png"
    if link:
        inside.symlink_to(tmp_path / "a.png")
    else:
        shutil.copy2(tmp_path / "a.png", inside)
    record = (run / "run.json").read_text()
    (run / "run.json").write_text(record.replace(str(tmp_path / "a.png"), str(inside)))
    made = report([read_input(str(run))])
    assert ("data:image/jpeg" in made.html) == (not link)
    # Nothing is told of files outside, not even if they are there.
    assert len(made.notes) == 1 and f"({1 + link} of them)" in made.notes[0]


# Writing


def test_a_page_tells_what_was_run_and_what_went_wrong(run: Path) -> None:
    page = page_of(run)
    assert "gradviz saliency net.ts 'a photo.png'" in page.text
    assert "0" * 64 in page.text and "net.ts (TorchScript)" in page.text
    assert "b.png, ones : all is <b>not</b> well" in page.text
    assert "c.png, ones : c.png: not an image" in page.text
    assert "/gone/forever.png: no such file" in page.text
    assert ("b", {}) not in page.elements


def test_the_flow_of_gradients_is_a_chart_and_a_table(flow: Path) -> None:
    page = page_of(flow)
    assert "first 1×4×8×8 1 × 1 2 – 75 %" in page.text
    assert "last 1×2 – 1 0.125 –" in page.text
    assert "no gradient reaches first" in page.text
    assert sum(tag == "circle" for tag, _ in page.elements) == 3


def test_whatever_files_are_called_the_page_stays_itself(tmp_path: Path) -> None:
    names = [
        "<img src=x onerror=alert(1)>.png",
        "</script><script>alert(1)</script>.png",
        '" onload="alert(1)',
        "<!--",
        "{{ 7 * 7 }}.png",
        "\u2028\u2029\udcff&amp;.png",
    ]
    plain = runs.saliency_run(tmp_path / "plain", {(f"{n}.png", "s"): G for n in range(6)})
    odd = runs.saliency_run(
        tmp_path / "odd",
        {(name, "s"): G for name in names},
        failures={(name, "t"): name for name in names},
        lines={(name, "s"): {"warnings": [name]} for name in names},
    )
    page = page_of(odd)
    assert sorted(each["image"] for each in data_of(page)["maps"]) == sorted(names)

    def count(each: Page, tag: str) -> int:
        return sum(name == tag for name, _ in each.elements)

    for tag in ("script", "img", "style"):
        assert count(page, tag) == count(page_of(plain), tag)
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    for name in names[:5]:
        assert f"{' '.join(name.split())}, s" in page.text


def test_nothing_is_allowed_but_what_the_page_brings(run: Path, flow: Path) -> None:
    page = page_of(run, flow)
    (policy,) = (
        attributes["content"]
        for tag, attributes in page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy and policy.startswith("default-src 'none'; img-src data: blob:;")
    assert "unsafe" not in policy and "http" not in policy
    ours = [
        text for name, text in page.scripts.items() if name and re.match(r"(script|style) \d", name)
    ]
    assert len(ours) == 9
    for text in ours:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    addresses = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "action", "srcset")
    ]
    assert all(value and value.startswith(("#", "data:,")) for value in addresses)
    assert not any("style" in attributes for _, attributes in page.elements)


def test_the_same_runs_are_the_same_page(run: Path, flow: Path) -> None:
    first, second = (report([read_input(str(run)), read_input(str(flow))]).html for _ in range(2))
    assert first == second


def test_every_view_is_known_to_the_page(run: Path) -> None:
    page = page_of(run)
    (painting,) = (text for text in page.scripts.values() if "const VIEWS" in text)
    table = painting.partition("const VIEWS = {")[2].partition("};")[0]
    assert re.findall(r"^  (\w+):", table, re.MULTILINE) == list(VIEWS)
    for view in VIEWS.values():
        quantity = view.quantity(np.array([[[-1.0]]], np.float32))
        assert view.signed == bool((quantity < 0).any()), view.name


@pytest.mark.process
def test_a_report_of_a_document_needs_no_torch(flow: Path) -> None:
    code = (
        "import sys; from gradviz.commands.report.page import report;"
        "from gradviz.commands.report.inputs import read_input;"
        f"report([read_input({str(flow)!r})]); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_contours_hold_their_share_of_the_energy() -> None:
    energy = np.random.default_rng(0).random((9, 11)) ** 4
    energy[0, 0] = np.nan
    finite = np.nan_to_num(energy)
    for share, least in contours_of(energy).items():
        inside, without = finite[finite >= least].sum(), finite[finite > least].sum()
        assert inside >= finite.sum() * int(share) / 100 * (1 - 1e-9) > without * (1 - 1e-9)
    assert contours_of(np.zeros((2, 2))) == {}


def test_a_wheel_has_the_files_of_the_pages() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    (named,) = re.findall(r"^gradviz = \[(.+)\]$", project, re.MULTILINE)
    patterns = re.findall(r'"([^"]+)"', named)
    shipped = {path.name for pattern in patterns for path in (ROOT / "gradviz").glob(pattern)}
    there = {
        path.name
        for web in (ROOT / "gradviz").rglob("web")
        for path in web.iterdir()
        if path.is_file()
    }
    assert {name for name in there if not name.endswith(".py")} <= shipped


# The command


def test_the_command_writes_one_file(gradviz: Any, tmp_path: Path, run: Path, flow: Path) -> None:
    result = gradviz("report", run, flow, run, "--images", "-o", "deep/page.html")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("deep/page.html\t")
    assert "warning: b.png: /gone/forever.png: no such file" in result.stderr
    page = Page(Path("deep/page.html").read_text())
    assert len(data_of(page)["maps"]) == 2  # a run named twice is told of once
    assert [path.name for path in Path("deep").iterdir()] == ["page.html"]
    result = gradviz("report", flow, "--json")
    document = json.loads(result.stdout)
    assert (document["schema"], document["kind"], document["notes"]) == (1, "report", [])
    assert Path(document["file"]).stat().st_size == document["bytes"]


def test_a_name_that_is_no_text_is_written(gradviz: Any, tmp_path: Path) -> None:
    name = "\udcff.png"
    odd = runs.saliency_run(tmp_path / "odd", {(name, "s"): G}, failures={(name, "t"): name})
    assert gradviz("report", odd, "-o", "page.html").exit_code == 0
    assert data_of(Page(Path("page.html").read_text()))["maps"][0]["image"] == name


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere: no such file"),
        (["run", "-o", "page.pdf"], "name a file that ends in .html"),
        (["run", "-o", "run.html"], "is a folder; name a file in it"),
        (["run", "-o", "a.png/page.html"], "a.png/page.html: File exists"),
    ],
)
def test_commands_that_are_wrong(gradviz: Any, run: Path, arguments: list[str], says: str) -> None:
    Path("run.html").mkdir()
    result = gradviz("report", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr and len(result.stderr.splitlines()) <= 2
    assert not list(Path.cwd().glob("**/*.part"))


def test_a_run_without_arrays_shows_its_pictures(gradviz: Any, run: Path) -> None:
    (run / "r0/s/gradient.npy").unlink()
    shutil.copy("a.png", run / "r0/s/heatmap.png")
    lines = (run / "results.jsonl").read_text()
    old = '"files": {"gradient": "r0/s/gradient.npy"}'
    assert old in lines
    (run / "results.jsonl").write_text(
        lines.replace(old, '"files": {"heatmap": "r0/s/heatmap.png"}')
    )
    page = page_of(run)
    first = data_of(page)["maps"][0]
    assert first["drawn"].keys() == {"heatmap"} and first["size"] == [5, 4]
    assert page.scripts[first["drawn"]["heatmap"]].startswith("data:image/jpeg;base64,")


def test_the_class_that_was_asked_about_is_told(tmp_path: Path) -> None:
    label = "great white shark, white shark, man-eater, man-eating shark"
    run = runs.saliency_run(
        tmp_path / "run",
        {("a.png", "top"): G, ("a.png", "ones"): G, ("a.png", "class:7"): G},
        lines={
            ("a.png", "top"): {
                "class": {"index": 2, "label": label, "score": 3.0, "share": 0.98765}
            },
            ("a.png", "class:7"): {
                "class": {"index": 7, "label": None, "score": 1.0, "share": None}
            },
        },
    )
    told = {each["seed"]: each["answer"] for each in data_of(page_of(run))["maps"]}
    assert told == {
        "top": {
            "short": "class 2 (great white shark, white shark, man-eat…), share 98.8 %",
            "whole": f"2 ({label})",
            "share": "98.8 %",
        },
        "ones": None,
        "class:7": {"short": "class 7", "whole": "7", "share": None},
    }


def test_what_absorbed_relevance_is_told(tmp_path: Path) -> None:
    absorbed = {"biases": 1.5, "constants": 0.0, "epsilon": -0.25, "softmax": 0.125}
    run = runs.saliency_run(
        tmp_path / "run",
        {("a.png", "top"): G, ("a.png", "ones"): G},
        lines={("a.png", "top"): {"absorbed": absorbed, "conservation": 1e-7}},
    )
    told = {each["seed"]: each["more"] for each in data_of(page_of(run))["maps"]}
    assert told == {
        "top": {
            "conservation": 1e-7,
            "absorbed by biases": 1.5,
            "absorbed by epsilon": -0.25,
            "absorbed by softmax": 0.125,
        },
        "ones": {},
    }
