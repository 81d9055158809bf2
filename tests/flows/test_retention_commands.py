"""`logweir retention`: what it shows is what is there, and a cleanup deletes what it said it would."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flows.cli import main
from flows.compaction.figures import figures
from flows.config import load
from flows.retention_commands import clean
from tests.flows.compaction.support import at, classes, compactor, record
from tests.sinks.archive_support import rows, writer

FLOW = "name: a\nsource: {type: stdin}\ndestinations:\n  out: {type: console}\n"
RECORDS = [
    record(1),
    record(2, level="warn"),
    record(3, level="error"),
    record(4, category="audit"),
    record(5, day="2026-01-02"),
    record(6, category="workflow"),
]


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    """Return the file of a flow whose archive holds some records of January 2026."""
    path = tmp_path / "flow.yaml"
    path.write_text(FLOW + f"retention: {{archive: {tmp_path / 'a'}}}\n")
    archive = load(path).flow.archive
    assert archive is not None
    with writer(archive, tmp_path) as made:
        made.deliver(RECORDS)
    return path


def invoke(*arguments: str | Path) -> Result:
    """Return what the command line answers."""
    return CliRunner().invoke(main, ["retention", *map(str, arguments)])


def read(*arguments: str | Path) -> Any:
    """Return the JSON that a command prints."""
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_stats(flow: Path) -> None:
    """Records are counted by class, with the oldest, and how many expire next; text and JSON say the same."""
    found = read("stats", flow)
    assert (found["total"], found["retained"], found["deleted"], found["files"]) == (6, 6, 0, 6)
    assert found["bytes"] == sum(path.stat().st_size for path in (flow.parent / "a").rglob("*.parquet"))
    assert (found["oldest"], found["next_expiry"]) == ("2026-01-01T00:00:00.001Z", "2026-01-09T00:00:00.000Z")
    assert found["expiring"] == 1
    week = found["classes"]["7d"]
    assert (week["records"], week["files"], week["expiring"], week["deleted"]) == (2, 2, 1, 0)
    assert found["classes"]["forever"]["next_expiry"] is None
    assert list(found["classes"]) == ["7d", "30d", "90d", "1y", "forever"]
    text = invoke("stats", flow).output
    assert "6 records archived: 6 retained" in text
    assert "held" not in text
    flow.write_text(FLOW + f"retention: {{archive: {flow.parent / 'a'}, hold: [{{name: Case 7, where: id exists}}]}}\n")
    assert "What is held stays when it has expired: Case 7" in invoke("stats", flow).output
    assert "2026-01-09 (1 record)" in text


def test_policies(flow: Path) -> None:
    """Each policy of the flow is listed with what it holds, in the order in which they decide."""
    found = read("policies", flow)
    assert [(each["policy"], each["records"]) for each in found] == [
        ("Security and audit", 1),
        ("Workflows", 1),
        ("Errors", 1),
        ("Warnings", 1),
        ("Information", 2),
        ("Debugging", 0),
        (None, 0),
    ]
    assert all(each["in_flow"] for each in found)
    assert "Information" in invoke("policies", flow).output


def test_policies_of_before(flow: Path) -> None:
    """What policies hold that are no longer in the flow is shown, and said to be so."""
    flow.write_text(FLOW + f"retention: {{archive: {flow.parent / 'a'}, policies: [{{name: Errors, period: 60d}}]}}\n")
    found = {(each["policy"], each["period"]): each for each in read("policies", flow)}
    assert found["Errors", "60d"]["records"] == 0
    assert (found["Errors", "90d"]["records"], found["Errors", "90d"]["in_flow"]) == (1, False)
    assert "not in the flow" in invoke("policies", flow).output


def test_cleanup(flow: Path) -> None:
    """A dry run says what a cleanup then does, which says what it did; what is gone is counted for good."""
    expected = {"7d": 2, "30d": 1, "90d": 1}
    foreseen = read("cleanup", "--dry-run", flow)
    assert (foreseen["expired"], foreseen["expired_by_class"], foreseen["dry_run"]) == (4, expected, True)
    assert rows(flow.parent / "a").height == 6
    assert "4 records would expire" in invoke("cleanup", flow, "--dry-run").output
    done = read("cleanup", flow)
    assert done["expired_by_class"] == expected
    assert [{**each, "bytes": 0} for each in done["partitions"]] == [{**e, "bytes": 0} for e in foreseen["partitions"]]
    assert set(classes(flow.parent / "a")) == {"4", "6"}
    after = read("stats", flow)
    assert (after["total"], after["retained"], after["deleted"]) == (6, 2, 4)
    assert {name: each["deleted"] for name, each in after["classes"].items()} == {**expected, "1y": 0, "forever": 0}
    assert "0 records expired" in invoke("cleanup", flow).output


def test_cleanup_follows_policies(flow: Path) -> None:
    """Records that the policies of today keep longer are moved, and not deleted; the dry run says that too."""
    archive = f"retention: {{archive: {flow.parent / 'a'}, policies: [{{name: all, period: 30d, levels: [info]}}]}}\n"
    flow.write_text(FLOW + archive)
    loaded = load(flow).flow.archive
    assert loaded is not None
    now = at("2026-01-20")
    foreseen, done = clean(loaded, now, dry_run=True), clean(loaded, now)
    assert foreseen.to_dict()["expired_by_class"] == done.to_dict()["expired_by_class"] == {"7d": 2}
    assert foreseen.to_dict()["moved_to_class"] == done.to_dict()["moved_to_class"] == {"30d": 4, "7d": 2}
    assert set(classes(flow.parent / "a")) == {"1", "4", "5", "6"}
    assert "to 30d" in done.text()


def test_nothing_yet(tmp_path: Path) -> None:
    """Before anything is archived each command says so, and makes nothing."""
    path = tmp_path / "flow.yaml"
    path.write_text(FLOW + f"retention: {{archive: {tmp_path / 'a'}}}\n")
    assert "nothing has been archived yet" in invoke("stats", path).output
    assert read("cleanup", path)["expired"] == 0
    assert all(each["records"] == 0 for each in read("policies", path))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "command",
    ["retention stats", "retention policies", "retention cleanup", "compact", "search", "erase --where 'id exists'"],
)
def test_no_archive(tmp_path: Path, command: str) -> None:
    """A flow without an archive is told as any other mistake in its file is: the place, the setting, exit code 2."""
    path = tmp_path / "flow.yaml"
    path.write_text(FLOW)
    result = CliRunner().invoke(main, [*shlex.split(command), str(path)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{path}:1:1: retention.archive: is not set")


def test_what_is_wrong(tmp_path: Path, flow: Path) -> None:
    """A place that can't be used is told in words."""
    path = tmp_path / "other.yaml"
    path.write_text(
        FLOW + "retention: {archive: {path: s3://b, endpoint_url: 'http://127.0.0.1:9', region: eu-west-1, "
    )
    path.write_text(path.read_text() + "access_key_id: id, secret_access_key: pl4nted}}\n")
    result = invoke("stats", path)
    assert result.exit_code == 1
    assert "endpoint_url" in result.stderr
    assert "pl4nted" not in result.output + result.stderr
    (flow.parent / "a/_delta_log/00000000000000000001.json").write_text("nonsense")
    result = invoke("cleanup", flow)
    assert (result.exit_code, result.stderr.count("Traceback")) == (1, 0)


def test_what_others_keep_there(flow: Path) -> None:
    """Files under classes of another program are counted, and left alone."""
    archive = load(flow).flow.archive
    assert archive is not None
    view = compactor(archive).view
    view._put("hot", None, next(iter(next(iter(view.partitions.values())).values())))
    assert figures(view, []).foreign == 1
