from __future__ import annotations

import os
from pathlib import Path

import pytest

from sr_batch.folders import Job, Naming, OnCollision, PhotoJob, VideoJob, WorkList, find_jobs
from sr_batch.photos import PhotoFormat
from sr_batch.videos.codecs import Codec
from sr_train.errors import UsageError

X4 = Naming("_x4")


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def _targets(work: WorkList, base: Path) -> dict[str, str]:
    return {str(j.source.relative_to(base)): str(j.target.relative_to(base)) for j in work}


def _only(inputs: list[Path], naming: Naming) -> Job:
    (job,) = find_jobs(inputs, naming)
    return job


def test_a_folder_goes_to_a_folder_beside_it_with_its_tree(tmp_path: Path) -> None:
    _touch(tmp_path, "photos/b.JPG", "photos/a.png", "photos/sub/deep/c.webp", "photos/notes.txt", "photos/.hidden.jpg")
    work = find_jobs([tmp_path / "photos"], X4)
    assert _targets(work, tmp_path) == {
        "photos/a.png": "photos_x4/a.png",
        "photos/b.JPG": "photos_x4/b.JPG",
        "photos/sub/deep/c.webp": "photos_x4/sub/deep/c.webp",
    }
    assert work.ignored == 1
    assert list(_targets(work, tmp_path)) == sorted(_targets(work, tmp_path))


def test_the_folder_i_am_in_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _touch(tmp_path, "photos/a.png")
    monkeypatch.chdir(tmp_path / "photos")
    assert _only([Path()], X4).target == tmp_path / "photos_x4" / "a.png"


def test_a_single_photo_goes_beside_itself_with_a_suffix(tmp_path: Path) -> None:
    _touch(tmp_path, "a.png")
    assert _targets(find_jobs([tmp_path / "a.png"], X4), tmp_path) == {"a.png": "a_x4.png"}


@pytest.mark.parametrize(
    ("output", "target", "kind"),
    [
        ("big.jpg", "big.jpg", PhotoFormat.JPEG),
        ("out", "out/a.png", PhotoFormat.PNG),
        ("there", "there/a.png", PhotoFormat.PNG),
    ],
)
def test_a_single_photo_goes_to_the_file_or_folder_that_is_named(
    tmp_path: Path, output: str, target: str, kind: PhotoFormat
) -> None:
    _touch(tmp_path, "a.png")
    (tmp_path / "there").mkdir()
    job = _only([tmp_path / "a.png"], Naming("_x4", tmp_path / output))
    assert isinstance(job, PhotoJob)
    assert (job.target, job.format) == (tmp_path / target, kind)


def test_several_folders_into_one_keep_their_names(tmp_path: Path) -> None:
    _touch(tmp_path, "one/a.png", "two/a.png")
    work = find_jobs([tmp_path / "one", tmp_path / "two"], Naming("_x4", tmp_path / "out"))
    assert _targets(work, tmp_path) == {"one/a.png": "out/one/a.png", "two/a.png": "out/two/a.png"}


def test_a_chosen_format_and_suffix_change_the_names(tmp_path: Path) -> None:
    _touch(tmp_path, "p/a.jpeg", "p/b.tif")
    work = find_jobs([tmp_path / "p"], Naming("_x4", suffix="_big", format=PhotoFormat.JPEG))
    assert _targets(work, tmp_path) == {"p/a.jpeg": "p_x4/a_big.jpeg", "p/b.tif": "p_x4/b_big.jpg"}


def test_two_photos_with_one_result_keep_their_endings_and_are_named(tmp_path: Path) -> None:
    _touch(tmp_path, "p/a.jpg", "p/a.png", "p/A.webp", "p/b.jpg")
    work = find_jobs([tmp_path / "p"], Naming("_x4", format=PhotoFormat.PNG))
    assert _targets(work, tmp_path) == {
        "p/a.jpg": "p_x4/a.jpg.png",
        "p/a.png": "p_x4/a.png.png",
        "p/A.webp": "p_x4/A.webp.png",
        "p/b.jpg": "p_x4/b.png",
    }
    assert len(work.notes) == 3


def test_what_is_broken_is_told_once_however_often_folders_are_walked(tmp_path: Path) -> None:
    _touch(tmp_path, "p/a.jpg", "p/a.png", "p/notes.txt")
    (tmp_path / "p" / "dangling.png").symlink_to("nowhere.png")
    work = find_jobs([tmp_path / "p"], Naming("_x4", format=PhotoFormat.PNG))
    assert len(list(work)) == len(list(work)) == 2
    assert (len(work.failures), work.ignored) == (1, 1)


def test_photos_of_one_name_from_several_folders_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    _touch(tmp_path, "one/a.png", "two/one/a.png", "two/a.png", "three/b.png")
    inputs = [tmp_path / name for name in ("one/a.png", "two/a.png", "three/b.png")]
    work = find_jobs(inputs, Naming("_x4", tmp_path / "out"))
    assert [job.target.name for job in work] == ["one_a.png", "two_a.png", "b.png"]
    work = find_jobs([*inputs, tmp_path / "two" / "one" / "a.png"], Naming("_x4", tmp_path / "out"))
    assert [job.target.name for job in work] == ["two_a.png", "b.png"]
    assert len(work) == 2
    assert [reason for _, reason in work.failures] == 2 * [
        f"another file has the same result {tmp_path / 'out' / 'a.png'}; rename one of them"
    ]


def test_a_name_that_another_result_has_already_is_not_given_twice(tmp_path: Path) -> None:
    """a.jpg.png is a photo of its own: what would be renamed to that gets another name."""
    _touch(tmp_path, "p/a.jpg", "p/a.webp", "p/a.jpg.png")
    targets = _targets(find_jobs([tmp_path / "p"], Naming("_x4", format=PhotoFormat.PNG)), tmp_path)
    assert targets["p/a.jpg.png"] == "p_x4/a.jpg.png"
    assert len(set(targets.values())) == 3


def test_names_that_differ_only_in_unicode_form_or_case_are_one_name(tmp_path: Path) -> None:
    _touch(tmp_path, "p/caf\u00e9.jpg", "p/cafe\u0301.png", "p/CAF\u00c9.webp")
    targets = _targets(find_jobs([tmp_path / "p"], Naming("_x4", format=PhotoFormat.PNG)), tmp_path)
    assert sorted(name.rpartition(".")[0][-4:] for name in targets.values()) == [".jpg", ".png", "webp"]


@pytest.mark.parametrize(("choice", "done"), [("skip", ["a.png", "b.png"]), ("fail", ["b.png"])])
def test_photos_with_one_result_can_be_left_alone_or_refused(tmp_path: Path, choice: str, done: list[str]) -> None:
    _touch(tmp_path, "p/a.jpg", "p/a.png", "p/b.jpg")
    work = find_jobs([tmp_path / "p"], Naming("_x4", format=PhotoFormat.PNG, on_collision=OnCollision(choice)))
    assert [job.target.name for job in work] == done
    assert len(work) == len(done)
    assert [job.source.name for job in work] == [*(["a.jpg"] if choice == "skip" else []), "b.jpg"]
    assert len(work.failures) == (2 if choice == "fail" else 0)
    assert any("left alone" in note for note in work.notes) == (choice == "skip")


def test_many_collisions_are_counted_not_listed(tmp_path: Path) -> None:
    _touch(tmp_path, *(f"p/{number}{suffix}" for number in range(30) for suffix in (".jpg", ".png")))
    notes = find_jobs([tmp_path / "p"], Naming("_x4", format=PhotoFormat.PNG)).notes
    assert len(notes) == 21
    assert notes[-1] == "and 40 more renamed"


def test_what_appears_during_the_run_is_for_the_next_one(tmp_path: Path) -> None:
    """Its result could have the name of another one's."""
    _touch(tmp_path, "p/a.png", "p/c.png")
    work = find_jobs([tmp_path / "p"], Naming("_x4", format=PhotoFormat.PNG))
    _touch(tmp_path, "p/a.jpg", "p/b.png")
    assert [job.source.name for job in work] == ["a.png", "c.png"]


def test_a_photo_named_twice_is_done_once(tmp_path: Path) -> None:
    _touch(tmp_path, "a.png")
    assert len(find_jobs([tmp_path / "a.png", tmp_path / "." / "a.png"], X4)) == 1


def test_an_output_folder_inside_the_input_is_not_upscaled_again(tmp_path: Path) -> None:
    _touch(tmp_path, "p/a.png", "p/out/a.png", "p/out/sub/b.png", "p/other/c.png")
    work = find_jobs([tmp_path / "p"], Naming("_x4", tmp_path / "p" / "out"))
    assert _targets(work, tmp_path) == {"p/a.png": "p/out/a.png", "p/other/c.png": "p/out/other/c.png"}
    assert "inside the input folder" in work.notes[0]


def test_the_output_folder_of_another_run_is_not_upscaled_either(tmp_path: Path) -> None:
    _touch(tmp_path, "p/a.png", "p/sub_x4/b.png", "p/sub_x4/.sr-batch.jsonl", "p/sub/b.png")
    work = find_jobs([tmp_path / "p"], X4)
    assert list(_targets(work, tmp_path)) == ["p/a.png", "p/sub/b.png"]
    assert len(work.notes) == 1


def test_results_beside_their_inputs_are_not_upscaled_again(tmp_path: Path) -> None:
    _touch(tmp_path, "p/a.png", "p/a_x4.png")
    work = find_jobs([tmp_path / "p"], Naming("_x4", tmp_path / "p", suffix="_x4"))
    assert _targets(work, tmp_path) == {"p/a.png": "p/a_x4.png"}


def test_a_link_to_a_folder_above_does_not_go_round_in_circles(tmp_path: Path) -> None:
    _touch(tmp_path, "p/a.png")
    (tmp_path / "p" / "loop").symlink_to(tmp_path / "p", target_is_directory=True)
    work = find_jobs([tmp_path / "p"], X4)
    assert len(work) == 1
    assert "a link to a folder; not followed" in work.notes[0]


def test_files_that_systems_keep_beside_photos_are_passed_over(tmp_path: Path) -> None:
    system = ["@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "__MACOSX/._a.jpg", "$RECYCLE.BIN/x.jpg", "#recycle/y.jpg"]
    _touch(tmp_path, "p/a.jpg", "p/Thumbs.db", "p/.DS_Store", "p/desktop.ini", "p/._a.jpg", *(f"p/{n}" for n in system))
    work = find_jobs([tmp_path / "p"], X4)
    assert list(_targets(work, tmp_path)) == ["p/a.jpg"]
    assert work.failures == []


def test_what_is_no_file_though_its_name_says_photo_is_named_with_the_reason(tmp_path: Path) -> None:
    _touch(tmp_path, "p/a.jpg", "p/album.jpg/b.png")
    (tmp_path / "p" / "folder.png").mkdir()
    (tmp_path / "p" / "empty").mkdir()
    (tmp_path / "p" / "dangling.webp").symlink_to(tmp_path / "nowhere.webp")
    (tmp_path / "p" / "itself.webp").symlink_to("itself.webp")
    os.mkfifo(tmp_path / "p" / "pipe.tif")
    work = find_jobs([tmp_path / "p"], X4)
    assert [job.source.name for job in work] == ["a.jpg", "b.png"]
    reasons = {path.name: reason for path, reason in work.failures}
    assert reasons.keys() == {"folder.png", "dangling.webp", "itself.webp", "pipe.tif"}
    assert "is a folder" in reasons["folder.png"]
    assert "not there" in reasons["dangling.webp"]
    assert "no regular file" in reasons["pipe.tif"]


def test_one_wrong_file_among_several_is_a_failure_and_the_rest_is_done(tmp_path: Path) -> None:
    _touch(tmp_path, "a.png", "notes.txt")
    (tmp_path / "folder").mkdir()
    listed = [str(tmp_path / name) for name in ("b.png", "folder", "notes.txt")]
    work = find_jobs([tmp_path / "a.png", tmp_path / "notes.txt"], X4, listed)
    assert [job.source.name for job in work] == ["a.png"]
    assert [path.name for path, _ in work.failures] == ["notes.txt", "b.png", "folder", "notes.txt"]


def test_videos_keep_their_container_where_it_is_written(tmp_path: Path) -> None:
    _touch(tmp_path, "p/a.png", "p/clip.MP4", "p/old.avi")
    work = find_jobs([tmp_path / "p"], X4)
    assert [job.source.name for job in work.photos()] == ["a.png"]
    assert [job.target.name for job in work.videos()] == ["clip.MP4", "old.mkv"]


def test_a_video_goes_to_the_file_that_is_named(tmp_path: Path) -> None:
    _touch(tmp_path, "clip.mp4")
    assert _only([tmp_path / "clip.mp4"], X4) == VideoJob(tmp_path / "clip.mp4", tmp_path / "clip_x4.mp4")
    named = _only([tmp_path / "clip.mp4"], Naming("_x4", tmp_path / "big.mkv"))
    assert named == VideoJob(tmp_path / "clip.mp4", tmp_path / "big.mkv")


@pytest.mark.parametrize(
    ("inputs", "naming", "words"),
    [
        (["nowhere"], X4, "does not exist"),
        (["empty"], X4, "no photos or videos found"),
        (["notes.txt"], X4, "neither a photo nor a video by its name"),
        (["p"], Naming("_x4", Path("p")), "is the input folder"),
        (["p"], Naming("_x4", Path("notes.txt")), "is a file; name a folder"),
        (["p/a.png"], Naming("_x4", Path("p/a.png")), "overwritten by its own result"),
        (["p/a.png"], Naming("_x4", suffix=""), "overwritten by its own result"),
        (["p/a.png"], Naming("_x4", Path("b.jpg"), format=PhotoFormat.PNG), "leave one of them out"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: list[str], naming: Naming, words: str
) -> None:
    _touch(tmp_path, "p/a.png", "notes.txt")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=words):
        find_jobs([Path(name) for name in inputs], naming)


def test_videos_get_a_container_that_their_codec_goes_into(tmp_path: Path) -> None:
    names = ["a.mp4", "b.mov", "c.MKV", "d.webm", "e.avi"]
    for name in names:
        (tmp_path / name).touch()

    def targets(codec: Codec) -> list[str]:
        return [job.target.name for job in find_jobs([tmp_path], Naming("_x4", tmp_path.parent / "out", codec=codec))]

    assert targets(Codec.PRORES) == ["a.mov", "b.mov", "c.MKV", "d.mkv", "e.mkv"]
    assert targets(Codec.FFV1) == ["a.mkv", "b.mkv", "c.MKV", "d.mkv", "e.mkv"]
    assert targets(Codec.VP9) == ["a.mp4", "b.mp4", "c.MKV", "d.webm", "e.mkv"]
    assert targets(Codec.COPY) == ["a.mp4", "b.mov", "c.MKV", "d.webm", "e.mkv"]


VIDEO_ENDINGS = (
    "3g2 3gp amv asf avi divx dv dvr-ms evo f4v flv ivf m1v m2p m2t m2ts m2v mod mpe mpeg mpg mts mxf nut ogm ogv ps "
    "qt rm rmvb tod tp trp ts vob wmv wtv y4m"
)


def test_videos_of_containers_that_are_not_written_become_mkv_and_it_is_said(tmp_path: Path) -> None:
    for ending in VIDEO_ENDINGS.split():
        _touch(tmp_path, f"films/{ending}.{ending}")
    _touch(tmp_path, "films/LOUD.TS", "films/a.mp4", "films/b.m4v", "films/c.mov", "films/d.mkv", "films/e.webm")
    work = find_jobs([tmp_path / "films"], X4)
    assert all(isinstance(job, VideoJob) for job in work)
    kept = {"a.mp4", "b.m4v", "c.mov", "d.mkv", "e.webm"}
    assert {job.target.name for job in work if job.source.name in kept} == kept
    others = [job for job in work if job.source.name not in kept]
    assert len(others) == len(VIDEO_ENDINGS.split()) + 1
    assert {job.target.suffix for job in others} == {".mkv"}
    (said,) = (note for note in work.notes if "read but not written" in note)
    assert said.startswith(".3g2, .3gp, .amv")
    assert "steps of 1 ms" in said


def test_a_single_video_named_mp4_stays_off_the_milliseconds(tmp_path: Path) -> None:
    _touch(tmp_path, "a.ts")
    work = find_jobs([tmp_path / "a.ts"], Naming("_x4", tmp_path / "a.mp4"))
    assert (_only([tmp_path / "a.ts"], Naming("_x4", tmp_path / "a.mp4")).target.name, work.notes) == ("a.mp4", [])


def test_program_text_with_the_ending_of_a_video_is_no_video(tmp_path: Path) -> None:
    _touch(tmp_path, "p/a.png")
    (tmp_path / "p" / "component.ts").write_text("export const answer: number = 42\n" * 40)
    (tmp_path / "p" / "module.mts").write_text("export {}\n")
    (tmp_path / "p" / "drawing.ps").write_text("%!PS-Adobe-3.0\nshowpage\n")
    (tmp_path / "p" / "go.mod").write_text("module example.org/go\n")
    (tmp_path / "p" / "film.ts").write_bytes((b"\x47\x40\x00\x10" + b"\x00" + b"\xff" * 183) * 8)
    (tmp_path / "p" / "film.ps").write_bytes(b"\x00\x00\x01\xba" + bytes(60))
    work = find_jobs([tmp_path / "p"], X4)
    assert sorted(job.source.name for job in work) == ["a.png", "film.ps", "film.ts"]
    assert work.ignored == 4
