"""What `make audit` finds without the network is found by every run of the tests as well."""

from pathlib import Path

import audit
import pytest
from people import ROOT

from modelbridge import ids


def test_no_call_of_ours_is_insecure() -> None:
    assert audit.calls() == []


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="these files are not a clone")
def test_no_file_that_git_keeps_has_a_secret() -> None:
    assert audit.secrets() == []


def test_a_key_of_ours_in_a_file_would_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "ROOT", tmp_path)
    key = ids.new_api_key(test=False)
    (tmp_path / "leak.txt").write_text(f"OPENAI_API_KEY={key}\n")
    assert audit.our_keys("leak.txt") == [f"leak.txt: {key[:12]}…, a key of ours"]
