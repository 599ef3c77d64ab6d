"""SHA256SUMS: what coreutils checks, and nothing else."""

import hashlib
import subprocess

import pytest

from pipeline.core import checksums

FILES = {"model.safetensors": b"weights", "config.json": b"{}"}


def test_coreutils_check_a_folder_by_it(tmp_path):
    for name, data in (FILES | {checksums.FILE: checksums.of(FILES)}).items():
        (tmp_path / name).write_bytes(data)
    check = ["sha256sum", "--check", "--strict", checksums.FILE]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    (tmp_path / "model.safetensors").write_bytes(b"wights")
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 1


def test_it_is_read_back():
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    assert checksums.parse(checksums.of(FILES)) == digests and checksums.FILE == "SHA256SUMS"
    assert checksums.parse(b"") == {}


@pytest.mark.parametrize("line", [b"\xff", b"abc  model", b"0" * 64 + b"  ../../etc/passwd", b"0" * 64 + b" one blank"])
def test_what_is_no_digest_and_name_is_refused(line):
    with pytest.raises(ValueError, match="line 2"):
        checksums.parse(checksums.of({"a": b""}) + line)


def test_a_folder_is_checked_except_for_files_that_are_left_out(tmp_path):
    for name, data in (FILES | {checksums.FILE: checksums.of(FILES)}).items():
        (tmp_path / name).write_bytes(data)
    checksums.check(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"wights")
    with pytest.raises(ValueError, match=r"model\.safetensors is not what was published"):
        checksums.check(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors is missing"):
        checksums.check(tmp_path)
    checksums.check(tmp_path, unchecked={"model.safetensors"})
    (tmp_path / checksums.FILE).unlink()
    checksums.check(tmp_path)
