"""What batch inference reads and writes: folders, shards at URLs, picture formats, tar shards, broken inputs."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from deploy.__main__ import main
from deploy.batch import run as batch
from deploy.batch.bad_inputs import FIELDS
from deploy.batch.open_pairs import open_pairs
from deploy.batch.outputs import Output
from deploy.batch.pairs import PairOptions, bounds
from deploy.batch.summary import latency_percentiles
from deploy.chain import Chain
from deploy.runtime import Session
from likeness import bound_run, onnx_runtime
from likeness.command import BadInput
from shards.inputs import INPUTS, STYLE, STYLE_LENGTH
from shards.labels import standard_schema
from shards.labels.kinds import KINDS
from shards.reading import samples
from shards.records import load_manifest

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def paint(model: Path, pairs: Path | str, out: Path, *more: str) -> int:
    return main(["batch", "--model", str(model), "--pairs", str(pairs), "--out", str(out), *more])


def written(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    """Pictures and shards by name: what does not depend on when and where they were made."""
    own = ("summary", "batch.json", "bad")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob(pattern))
        if path.is_file() and not path.name.startswith((".", *own))
    }


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def folder(packed: Path, tmp_path: Path) -> Path:
    """Eight pairs as folders of files, two of them in a folder below."""
    manifest, where = load_manifest(packed / "test")
    root = tmp_path / "people"
    for index, (_, members) in enumerate(samples.iter_samples(where, manifest)):
        sample = samples.decode(members, manifest.schema, ("exemplar",), ())
        name = f"{'more/' if index > 5 else ''}{index}"
        for kind, frame in (("label", sample.pair.target), ("exemplar_label", sample.pair.exemplar)):
            file = root / kind / f"{name}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(frame.landmarks))
        file = root / "exemplar" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sample.photos["exemplar"]).save(file)
    return root


def as_csv(folder: Path, count: int) -> Path:
    """A CSV of the folder's pairs, over and over."""
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("label", "exemplar_label", "exemplar"))
        for number in range(count):
            writer.writerow(
                (f"label/{number % 6}.json", f"exemplar_label/{number % 6}.json", f"exemplar/{number % 6}.png")
            )
    return folder / "pairs.csv"


def test_folders_give_what_the_shards_give(model: Path, packed: Path, folder: Path, tmp_path: Path) -> None:
    assert paint(model, folder, tmp_path / "files") == 0
    assert paint(model, packed / "test", tmp_path / "shards") == 0
    found = written(tmp_path / "files")
    assert list(found) == [*(f"{number}.png" for number in range(6)), "more/6.png", "more/7.png"]
    assert list(found.values()) == list(written(tmp_path / "shards").values())


def test_a_file_alone_in_its_folder_belongs_to_all_pairs(model: Path, folder: Path, tmp_path: Path) -> None:
    for name in ("exemplar", "exemplar_label"):
        suffix = "png" if name == "exemplar" else "json"
        shutil.copy(folder / name / f"3.{suffix}", tmp_path / f"anna.{suffix}")
        shutil.rmtree(folder / name)
        (folder / name).mkdir()
        (tmp_path / f"anna.{suffix}").rename(folder / name / f"anna.{suffix}")
    assert paint(model, folder, tmp_path / "out") == 0
    rows = [(f"label/{number}.json", "exemplar_label/anna.json", "exemplar/anna.png") for number in range(6)]
    with (folder / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("label", "exemplar_label", "exemplar"), *rows])
    assert paint(model, folder / "pairs.csv", tmp_path / "csv") == 0
    assert list(written(tmp_path / "out").values())[:6] == list(written(tmp_path / "csv").values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: shutil.rmtree(root / "exemplar"), "has no folder exemplar"),
        (lambda root: (root / "label" / "5.json").unlink(), "exemplar_label/5.json has no counterpart"),
        (lambda root: (root / "exemplar" / "9.png").touch(), "exemplar/9.png has no counterpart"),
        (lambda root: (root / "exemplar" / "5.jpg").touch(), "differ in nothing but the suffix"),
        (lambda root: (root / "lable").mkdir(), "lable is none of the folders"),
        (lambda root: (root / "notes.txt").touch(), "notes.txt is none of the folders"),
    ],
)
def test_folders_that_do_not_fit_are_refused(
    change: Callable[[Path], object],
    message: str,
    model: Path,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(folder)
    assert paint(model, folder, tmp_path / "out") == 2
    assert message in refusal(capsys)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def web(packed: Path) -> Iterator[tuple[str, list[str]]]:
    """The URL of a server of the packed shards, and the paths that were asked of it."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_: object) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(packed)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("more", [[], ["--roll-labels", "3"], ["--per-shard", "6"]], ids=["plain", "rolled", "tars"])
def test_shards_at_a_url_give_what_a_folder_gives(
    more: list[str],
    model: Path,
    packed: Path,
    web: tuple[str, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    assert paint(model, packed / "train", tmp_path / "local", *more) == 0
    assert paint(model, f"{web[0]}/train", tmp_path / "remote", *more) == 0
    assert written(tmp_path / "remote") == written(tmp_path / "local")
    assert len(written(tmp_path / "local")) == (5 if "--per-shard" in more else 20)
    assert not list((tmp_path / "temporary").glob("likeness-shards-*")), "the temporary cache is removed"


def test_a_slice_fetches_the_shards_that_it_needs_and_the_cache_spares_the_rest(
    model: Path, web: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    url, asked = web
    cache = ("--cache", str(tmp_path / "cache"))
    assert paint(model, f"{url}/train/manifest.json", tmp_path / "out", "--slice", "2/3", *cache) == 0
    assert [Path(path).name for path in asked] == ["manifest.json", "pairs-000001.tar", "pairs-000002.tar"]
    assert paint(model, f"{url}/train", tmp_path / "again", "--slice", "2/3", *cache) == 0
    assert [Path(path).name for path in asked[3:]] == ["manifest.json"]
    assert written(tmp_path / "out", "*.png") == written(tmp_path / "again", "*.png")


def test_s3(model: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moto = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    files = s3fs.S3FileSystem()
    files.mkdir("bucket")
    files.put(str(packed / "test"), "bucket/test", recursive=True)
    assert paint(model, "s3://bucket/test", tmp_path / "remote") == 0
    assert paint(model, packed / "test", tmp_path / "local") == 0
    assert written(tmp_path / "remote") == written(tmp_path / "local")
    server.stop()


def test_formats_hold_the_same_picture(model: Path, packed: Path, tmp_path: Path) -> None:
    names = []
    for name, kind in (("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")):
        assert paint(model, packed / "test", tmp_path / name, "--format", name) == 0
        found = written(tmp_path / name)
        assert {Image.open(io.BytesIO(content)).format for content in found.values()} == {kind}
        names.append([file.removesuffix(name) for file in found])
    assert names[0] == names[1] == names[2] and len(names[0]) == 8
    assert paint(model, packed / "test", tmp_path / "low", "--format", "jpg", "--quality", "10") == 0
    sizes = [sum(map(len, written(tmp_path / name).values())) for name in ("low", "jpg")]
    assert sizes[0] < sizes[1] / 2


def test_encoding_keeps_colours(packed: Path) -> None:
    manifest, where = load_manifest(packed / "test")
    _, members = next(samples.iter_samples(where, manifest))
    small = Image.fromarray(samples.decode_photo(members, "exemplar", manifest.schema))
    photo = np.asarray(small.resize((128, 96), Image.Resampling.BICUBIC)).astype(np.uint8)
    for name, most in (("png", 0), ("jpg", 2), ("webp", 4)):
        found = np.asarray(Image.open(io.BytesIO(Output(name).encode(photo)))).astype(int)  # type: ignore[arg-type]
        assert np.abs(found - photo).mean() <= most
        assert np.abs(found[..., ::-1] - photo).mean() > 3 * most


def test_outputs_that_do_not_fit_are_refused(
    model: Path, packed: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = folder / "pairs.csv"
    pairs.write_text(
        "label,exemplar_label,exemplar,output\nlabel/0.json,exemplar_label/0.json,exemplar/0.png,a.b.png\n"
    )
    assert paint(model, pairs, tmp_path / "out", "--format", "jpg") == 2
    assert "line 2: 'a.b.png' cannot be an output; give a path below the output folder that ends in .jpg" in refusal(
        capsys
    )
    assert paint(model, pairs, tmp_path / "out", "--per-shard", "4") == 2
    assert "keys end at the first dot" in refusal(capsys)
    assert paint(model, pairs, tmp_path / "out", "--quality", "4") == 2
    assert "png loses nothing" in refusal(capsys)
    assert paint(model, pairs, tmp_path / "out", "--quality", "101", "--format", "jpg") == 2
    assert "not between 1 and 100" in refusal(capsys)
    assert paint(model, pairs, tmp_path / "out", "--cache", "here") == 2
    assert "--cache is for shards at a URL" in refusal(capsys)
    for name in ("a\0b.png", f"{'x' * 242}.png", f"{'x' * 256}/b.png"):
        (folder / "names.csv").write_text(
            f"label,exemplar_label,exemplar,output\nlabel/0.json,exemplar_label/0.json,exemplar/0.png,{name}\n"
        )
        assert paint(model, folder / "names.csv", tmp_path / "out") == 2
        said = "a cell holds a NUL" if "\0" in name else "cannot be an output"
        assert said in refusal(capsys)
    row = "label/0.json,exemplar_label/0.json,exemplar/0.png"
    (folder / "nested.csv").write_text(f"label,exemplar_label,exemplar,output\n{row},a.png/b.png\n{row},a.png\n")
    assert paint(model, folder / "nested.csv", tmp_path / "out") == 2
    assert "a.png cannot be a file and the folder of a.png/b.png" in refusal(capsys)
    assert not (tmp_path / "out").exists()
    assert paint(model, pairs, tmp_path / "out") == 0
    capsys.readouterr()
    assert paint(model, pairs, tmp_path / "out", "--per-shard", "4") == 2
    capsys.readouterr()
    assert paint(model, packed / "test", tmp_path / "jpg", "--format", "jpg") == 0
    capsys.readouterr()
    assert paint(model, packed / "test", tmp_path / "jpg", "--format", "jpg", "--quality", "90") == 2
    assert "begun with another --format, --quality or --per-shard" in refusal(capsys)


def test_a_folder_in_which_nothing_was_painted_is_taken_again(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs, out = as_csv(folder, 2), tmp_path / "out"
    broken = pairs.with_name("broken.csv")
    broken.write_text(pairs.read_text().replace("exemplar/0.png", "label/0.json"))
    assert paint(model, broken, out) == 2 and (out / "batch.json").is_file()
    assert not list(out.glob("**/*.png"))
    pairs = as_csv(folder, 3)
    assert paint(model, pairs, out) == 0, capsys.readouterr().err
    assert len(written(out, "*.png")) == 3 and not list(out.glob(".bad*"))
    capsys.readouterr()
    # What holds pictures, or anything of somebody else, is nobody's to begin anew.
    assert paint(model, broken, out) == 2 and "begun with another" in refusal(capsys)
    other = tmp_path / "other"
    assert paint(model, broken, other) == 2
    (other / "notes.txt").write_text("mine")
    capsys.readouterr()
    assert paint(model, pairs, other) == 2 and "begun with another" in refusal(capsys)
    assert (other / "notes.txt").read_text() == "mine"


def test_a_folder_of_one_size_is_not_continued_in_another(model: Path, folder: Path, tmp_path: Path) -> None:
    session = Session(model)
    pairs = open_pairs(as_csv(folder, 2), session.schema, session.inputs)
    batch.run(Chain.of(session), pairs, tmp_path / "out")
    # As --size does for models of any size; all pictures are there already, so that none need be made.
    session.schema = replace(session.schema, height=48)
    with pytest.raises(BadInput, match="begun with another --size"):
        batch.run(Chain.of(session), pairs, tmp_path / "out")


def test_webdataset_reads_the_tar_shards(model: Path, packed: Path, tmp_path: Path) -> None:
    assert paint(model, packed / "test", tmp_path / "loose") == 0
    assert paint(model, packed / "test", tmp_path / "out", "--per-shard", "3") == 0
    tars = sorted((tmp_path / "out").glob("*.tar"))
    assert [tar.name for tar in tars] == [f"pictures-{number:06d}.tar" for number in range(3)]
    found = list(webdataset.WebDataset([str(tar) for tar in tars], shardshuffle=False).decode("rgb8"))
    assert [f"{sample['__key__']}.png" for sample in found] == list(written(tmp_path / "loose"))
    for number, sample in enumerate(found):
        loose = np.asarray(Image.open(tmp_path / "loose" / f"{sample['__key__']}.png"))
        np.testing.assert_array_equal(sample["image.png"], loose)
        assert sample["json"]["number"] == number
        assert sample["json"]["inputs"]["key"] == sample["__key__"]
        assert sample["json"]["model_sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert [shard["pictures"] for shard in index["shards"]] == [3, 3, 2] and index["pictures"] == 8
    assert [shard["sha256"] for shard in index["shards"]] == [
        hashlib.sha256(tar.read_bytes()).hexdigest() for tar in tars
    ]


def test_tar_shards_killed_half_way_and_sliced_are_those_of_one_run(model: Path, folder: Path, tmp_path: Path) -> None:
    pairs = as_csv(folder, 300)
    more = ("--per-shard", "40", "--batch", "3", "--format", "jpg")
    assert paint(model, pairs, tmp_path / "whole", *more) == 0
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "deploy", "batch", "--model", model, "--pairs", pairs, "--out", killed, *more]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(killed.glob("[!.]*.tar"))) < 2 or not list(killed.glob(".*.tar")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    survived = {file: file.stat().st_mtime_ns for file in killed.glob("[!.]*.tar")}
    assert 2 <= len(survived) < 8
    assert paint(model, pairs, killed, *more) == 0
    assert written(killed) == written(tmp_path / "whole")
    assert all(file.stat().st_mtime_ns == at for file, at in survived.items()), "whole shards are not made again"
    assert not list(killed.glob(".*.tar"))
    for number in (2, 0, 1):
        assert not (tmp_path / "sliced" / "index.json").exists()
        assert paint(model, pairs, tmp_path / "sliced", *more, "--slice", f"{number}/3") == 0
    assert written(tmp_path / "sliced", "*.tar") == written(tmp_path / "whole", "*.tar")
    assert written(tmp_path / "sliced", "index.json") == written(tmp_path / "whole", "index.json")


def test_slices_share_no_unit_and_leave_none_out() -> None:
    for total in (0, 1, 39, 40, 41, 300):
        for unit in (1, 7, 40):
            for slices in (1, 3, 11):
                parts = [bounds(total, (number, slices), unit) for number in range(slices)]
                assert [number for part in parts for number in part] == list(range(total))
                assert all(part.start % unit == 0 for part in parts if part)


@pytest.mark.parametrize("tars", [[], ["--per-shard", "3"]], ids=["loose", "tars"])
def test_broken_inputs_are_listed_skipped_and_tried_again(
    tars: list[str], model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert paint(model, folder, tmp_path / "whole", *tars) == 0
    whole = {file: (folder / file).read_bytes() for file in ("exemplar/1.png", "label/4.json", "exemplar/5.png")}
    (folder / "exemplar" / "1.png").write_bytes(whole["exemplar/1.png"][:100])
    (folder / "label" / "4.json").write_text("{")
    (folder / "exemplar" / "5.png").write_bytes(b"")
    out = tmp_path / "out"
    capsys.readouterr()

    assert paint(model, folder, out, *tars) == 2
    said = refusal(capsys)
    assert "exemplar/1.png is no readable picture" in said and "--max-bad 0" in said
    assert paint(model, folder, out, *tars, "--max-bad", "2") == 2
    said = refusal(capsys)
    assert "exemplar/5.png" in said and "number 3" in said

    for _ in range(2):
        assert paint(model, folder, out, *tars, "--max-bad", "3") == 0
        assert "3 left out" in capsys.readouterr().out
        with (out / "bad.csv").open(newline="") as file:
            listed = list(csv.reader(file))
        assert tuple(listed[0]) == FIELDS
        assert [(row[0], Path(row[1])) for row in listed[1:]] == [
            ("1.png", folder / "exemplar/1.png"),
            ("4.png", folder / "label/4.json"),
            ("5.png", folder / "exemplar/5.png"),
        ]
        assert "cut off" in listed[1][2] or "ends early" in listed[1][2]
        summary = json.loads((out / "summary.json").read_text())
        assert (summary["bad"], summary["total"]) == (3, 8)
    if not tars:
        assert sorted(written(out)) == ["0.png", "2.png", "3.png", "more/6.png", "more/7.png"]

    (folder / "exemplar" / "1.png").write_bytes(whole["exemplar/1.png"])
    assert paint(model, folder, out, *tars, "--max-bad", "2") == 0
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["pictures"], summary["skipped"], summary["bad"]) == (1, 5, 2)
    for file, content in whole.items():
        (folder / file).write_bytes(content)
    capsys.readouterr()
    # The first was made with an exemplar of another time than this one.
    assert paint(model, folder, out, *tars) == 2
    assert "another set of pairs, or their files have changed" in refusal(capsys)
    shutil.rmtree(out)
    for file in ("label/4.json", "exemplar/5.png"):
        (folder / file).write_bytes(b"")
    assert paint(model, folder, out, *tars, "--max-bad", "2") == 0
    for file in ("label/4.json", "exemplar/5.png"):
        (folder / file).write_bytes(whole[file])
    assert paint(model, folder, out, *tars) == 0
    assert not (out / "bad.csv").exists()
    assert written(out) == written(tmp_path / "whole")
    assert paint(model, folder, out, *tars) == 0
    shutil.copy(folder / "exemplar" / "2.png", folder / "exemplar" / "0.png")
    assert paint(model, folder, out, *tars) == 2, "nothing else may change"


def test_slices_have_their_own_lists(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 5):
        (folder / "exemplar" / f"{number}.png").write_bytes(b"")
    (folder / "label" / "2.json").unlink()
    pairs = as_csv(folder, 6)
    for number in range(2):
        assert paint(model, pairs, tmp_path / "out", "--slice", f"{number}/2", "--max-bad", "2") == 0
        assert f"see bad-{number}-of-2.csv" in capsys.readouterr().out
    found = [
        [row["output"] for row in csv.DictReader((tmp_path / "out" / f"bad-{number}-of-2.csv").open(newline=""))]
        for number in range(2)
    ]
    assert found == [["000002.png", "000003.png"], ["000006.png"]]


def test_broken_members_of_shards_are_listed_by_shard_and_key(model: Path, packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed / "test", tmp_path / "shards")
    manifest = json.loads((tmp_path / "shards" / "manifest.json").read_text())
    tar = tmp_path / "shards" / manifest["shards"][0]["name"]
    content = bytearray(tar.read_bytes())
    with tarfile.open(tar) as opened:
        member = next(entry for entry in opened if ".exemplar." in entry.name)
    content[member.offset_data : member.offset_data + 8] = b"no photo"
    tar.write_bytes(content)
    manifest["shards"][0]["sha256"] = hashlib.sha256(content).hexdigest()
    (tmp_path / "shards" / "manifest.json").write_text(json.dumps(manifest))
    assert paint(model, tmp_path / "shards", tmp_path / "out", "--max-bad", "1") == 0
    with (tmp_path / "out" / "bad.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    key = member.name.partition(".")[0]
    assert (row["output"], row["input"]) == (f"{key}.png", f"{tar.name} {key}")
    assert len(written(tmp_path / "out")) == 7


def test_latency_is_per_picture_and_without_the_first_run() -> None:
    """In which a provider chooses its kernels; a run of three pictures counts as three."""
    assert latency_percentiles([]) is None
    assert latency_percentiles([(0.5, 2)]) == {"p50": 250.0, "p95": 250.0, "p99": 250.0}
    runs = [(60.0, 1), (0.3, 3), (0.2, 1)]
    expected = {f"p{share}": round(float(np.percentile([100, 100, 100, 200], share)), 3) for share in (50, 95, 99)}
    assert latency_percentiles(runs) == expected


def test_json_alone_on_stdout(model: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert paint(model, packed / "test", tmp_path / "out", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out" / "summary.json").read_text())
    assert printed["latency_ms"].keys() == {"p50", "p95", "p99"} and 0 < printed["busy"] < 1
    assert (printed["pictures"], printed["bad"]) == (8, 0)


def test_bound_runs_give_the_same_numbers(model: Path) -> None:
    plain = onnx_runtime.Model(model, "cpu")
    bound = bound_run.BoundRun(plain.native, "cpu")
    rng = np.random.default_rng(0)
    found, wanted = [], []
    for count in (2, 2, 1, 3, 3):
        feeds = {
            name: rng.uniform(0, 1, (count, *shape[1:])).astype(np.float32) for name, (_, shape) in plain.inputs.items()
        }
        found.append(bound(feeds)[0])
        wanted.append(plain.run(feeds))
    # Compared at the end: no run may write where an earlier picture lies.
    for first, second in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(first, second)


def test_memory_does_not_grow_with_the_number_of_pictures(model: Path, folder: Path, tmp_path: Path) -> None:
    code = r"""
import re, sys
from pathlib import Path
from deploy.__main__ import main
from deploy.batch.file_pairs import FilePairs
# Decoding that costs next to nothing, so that it must wait for the model.
load, kept = FilePairs._load, {}
FilePairs._load = lambda self, source: kept.get(0) or kept.setdefault(0, load(self, source))
model, pairs, out = sys.argv[1:]
assert main(["batch", "--model", model, "--pairs", pairs, "--out", out, "--per-shard", "500", "--batch", "4"]) == 0
# Unlike what getrusage tells, not the peak of the process that started this one.
print(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
"""
    peaks = []
    for count in (100, 2000):
        command = [sys.executable, "-c", code, model, as_csv(folder, count), tmp_path / str(count)]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=240)
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 24 << 10, f"KiB: {peaks}"


def test_a_failed_picture_ends_the_run_and_no_shard_lacks_it(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(model)
    output = Output(per_shard=3)
    pairs = open_pairs(as_csv(folder, 12), session.schema, session.inputs, PairOptions(output=output))
    calls = iter(range(100))
    whole = Session.checked

    def fails(self: Session, image: np.ndarray) -> np.ndarray:
        if next(calls) == 4:
            raise BadInput("not finite")
        return whole(self, image)

    monkeypatch.setattr(Session, "checked", fails)
    with pytest.raises(BadInput, match="not finite"):
        batch.run(Chain.of(session), pairs, tmp_path / "out", 1, output)
    assert [path.name for path in sorted((tmp_path / "out").glob("*.tar"))] in ([], ["pictures-000000.tar"])
    assert not list((tmp_path / "out").glob(".*.tar"))


def test_the_help_has_every_input_and_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["batch", "--help"])
    shown = capsys.readouterr().out
    for each in INPUTS.values():
        assert re.search(rf"^    .*\b{each.name}\b", shown, re.MULTILINE)
    for kind in KINDS.values():
        assert f"{kind.file}: {kind.holds}\n" in shown
    assert STYLE.file_in_words(standard_schema("sketch", 32, 32), STYLE_LENGTH)["holds"] in shown
