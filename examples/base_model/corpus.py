"""Makes the text that the bundled base "mini" is trained on: openly licensed lines from Python packages.

    python examples/base_model/corpus.py FOLDER       # writes FOLDER/*.jsonl: {"id", "screen_name", "text"}

chitchat-dataset 0.9.0 (MIT): 258,112 messages of casual chat. vaderSentiment 3.3.2's source archive (MIT):
4,200 tweets and 19,500 sentences of reviews and editorials, as rated for the ICWSM-14 paper.
"""

import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

CHAT, VADER = "chitchat-dataset==0.9.0", "vaderSentiment==3.3.2"
RATED = ("tweets", "amazonReviewSnippets", "movieReviewSnippets", "nytEditorialSnippets")


def main(folder: Path) -> None:
    if (folder / "done").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as downloads:
        wheel = download(CHAT, Path(downloads) / "chat")
        source = download(VADER, Path(downloads) / "vader", "--no-binary", ":all:", "--no-build-isolation")
        write(folder / "chitchat.jsonl", chat(wheel))
        for name, lines in rated(source):
            write(folder / f"{name}.jsonl", lines)
    (folder / "done").touch()


def download(package: str, folder: Path, *options: str) -> Path:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *options, "-d", str(folder), package]
    subprocess.run(command, check=True)
    return next(folder.iterdir())


def chat(wheel: Path) -> Iterable[str]:
    with zipfile.ZipFile(wheel) as archive, archive.open("chitchat_dataset/dataset.json") as file:
        conversations = json.load(file).values()
    return (message["text"] for one in conversations for turn in one["messages"] for message in turn)


def rated(source: Path) -> Iterable[tuple[str, list[str]]]:
    """The texts of the rated sentences: the third column of each tab-separated file."""
    with tarfile.open(source) as outer:
        inner = next(member for member in outer if member.name.endswith("hutto_ICWSM_2014.tar.gz"))
        data = outer.extractfile(inner).read()  # type: ignore[union-attr]
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for name in RATED:
            member = archive.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
            lines = member.read().decode("utf-8", "replace").splitlines()  # type: ignore[union-attr]
            yield name.lower(), [line.split("\t", 2)[2] for line in lines if line.count("\t") >= 2]


def write(path: Path, texts: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number, text in enumerate(texts):
            row = {"id": f"{path.stem}-{number}", "screen_name": path.stem[:15], "text": text}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
