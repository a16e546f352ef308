"""`reasoner batch` with real vLLM and the embedded model: a file of three questions."""

import json
import subprocess
import sys
from pathlib import Path

from pyarrow import parquet

REASONER = str(Path(sys.executable).with_name("reasoner"))


def test_three_questions_become_three_rows_within_the_budget(embedded_model: Path, tmp_path: Path) -> None:
    rows = [{"question": f"What is {number} + 4?", "topic": f"sum {number}"} for number in (1, 2, 3)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [REASONER, "batch", "q.jsonl", "-o", "a.parquet", "-a", "number", "-n", "3", "--max-tokens", "32"]
    ended = subprocess.run([*command, "-b", "tokens=900"], cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    found = sorted(parquet.read_table(tmp_path / "a.parquet").to_pylist(), key=lambda row: row["row"])
    assert [row["topic"] for row in found] == ["sum 1", "sum 2", "sum 3"]
    assert all(row["answer"] and row["text"] for row in found)
    assert all(1 <= row["samples"] <= 3 for row in found)
    assert 0 < sum(row["tokens"] for row in found) <= 900
    assert "3 of 3 rows" in ended.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".state"] == []
