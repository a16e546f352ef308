"""A model that vLLM downloads from a hub: how much has arrived is shown, and the model answers."""

import os
import subprocess
import sys
from pathlib import Path

from tests.engine.fake_hub import FakeHub

REASONER = str(Path(sys.executable).with_name("reasoner"))


def test_a_download_shows_how_much_has_arrived(embedded_model: Path, tmp_path: Path) -> None:
    command = [REASONER, "solve", "What is 3 + 4?", "-s", "single:max_tokens=8", "-m", "tiny/model"]
    lines: list[str] = []
    with FakeHub(embedded_model, "tiny/model") as hub:
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        process = subprocess.Popen(
            command, env=os.environ | settings, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr
        with process:
            for line in process.stderr:
                lines.append(line.strip())
                if "downloaded" in line:
                    hub.released.set()
    assert [line for line in lines if line.startswith("loading tiny/model, 0.1 GB downloaded")], lines
    # It is not sure that so small a model answers; the engine did not fail.
    assert process.returncode in (0, 1), lines
    assert any(line.startswith("cost ") for line in lines)
