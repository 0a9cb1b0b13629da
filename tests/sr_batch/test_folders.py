from __future__ import annotations

from pathlib import Path

import pytest

from sr_batch.folders import Naming, PhotoJob, VideoJob, WorkList, find_jobs
from sr_batch.photos import PhotoFormat
from sr_train.errors import UsageError

X4 = Naming("_x4")


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def _targets(work: WorkList, base: Path) -> dict[str, str]:
    return {str(j.source.relative_to(base)): str(j.target.relative_to(base)) for j in work.jobs}


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
    assert find_jobs([Path()], X4).jobs[0].target == tmp_path / "photos_x4" / "a.png"


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
    job = find_jobs([tmp_path / "a.png"], Naming("_x4", tmp_path / output)).jobs[0]
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


def test_photos_that_still_share_a_result_are_failures_and_nothing_is_overwritten(tmp_path: Path) -> None:
    _touch(tmp_path, "one/a.png", "two/one/a.png", "three/b.png")
    inputs = [tmp_path / "one" / "a.png", tmp_path / "two" / "one" / "a.png", tmp_path / "three" / "b.png"]
    work = find_jobs(inputs, Naming("_x4", tmp_path / "out"))
    assert [job.source.name for job in work.jobs] == ["b.png"]
    assert len(work.failures) == 2
    assert all("rename one of them" in reason for _, reason in work.failures)


def test_a_photo_named_twice_is_done_once(tmp_path: Path) -> None:
    _touch(tmp_path, "a.png")
    assert len(find_jobs([tmp_path / "a.png", tmp_path / "." / "a.png"], X4).jobs) == 1


def test_an_output_folder_inside_the_input_is_not_upscaled_again(tmp_path: Path) -> None:
    _touch(tmp_path, "p/a.png", "p/out/a.png", "p/out/sub/b.png", "p/other/c.png")
    work = find_jobs([tmp_path / "p"], Naming("_x4", tmp_path / "p" / "out"))
    assert _targets(work, tmp_path) == {"p/a.png": "p/out/a.png", "p/other/c.png": "p/out/other/c.png"}
    assert "inside the input folder" in work.notes[0]


def test_results_beside_their_inputs_are_not_upscaled_again(tmp_path: Path) -> None:
    _touch(tmp_path, "p/a.png", "p/a_x4.png")
    work = find_jobs([tmp_path / "p"], Naming("_x4", tmp_path / "p", suffix="_x4"))
    assert _targets(work, tmp_path) == {"p/a.png": "p/a_x4.png"}


def test_a_link_to_a_folder_above_does_not_go_round_in_circles(tmp_path: Path) -> None:
    _touch(tmp_path, "p/a.png")
    (tmp_path / "p" / "loop").symlink_to(tmp_path / "p", target_is_directory=True)
    assert len(find_jobs([tmp_path / "p"], X4).jobs) == 1


def test_videos_keep_their_container_where_it_is_written(tmp_path: Path) -> None:
    _touch(tmp_path, "p/a.png", "p/clip.MP4", "p/old.avi")
    work = find_jobs([tmp_path / "p"], X4)
    assert [job.source.name for job in work.photos()] == ["a.png"]
    assert [job.target.name for job in work.videos()] == ["clip.MP4", "old.mkv"]


def test_a_video_goes_to_the_file_that_is_named(tmp_path: Path) -> None:
    _touch(tmp_path, "clip.mp4")
    assert find_jobs([tmp_path / "clip.mp4"], X4).jobs == [VideoJob(tmp_path / "clip.mp4", tmp_path / "clip_x4.mp4")]
    named = find_jobs([tmp_path / "clip.mp4"], Naming("_x4", tmp_path / "big.mkv")).jobs
    assert named == [VideoJob(tmp_path / "clip.mp4", tmp_path / "big.mkv")]


@pytest.mark.parametrize(
    ("inputs", "naming", "words"),
    [
        (["nowhere"], X4, "does not exist"),
        (["empty"], X4, "no photos found"),
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
