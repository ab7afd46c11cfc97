"""Downloads over lines that break, from servers that misbehave; archives that are damaged or hostile."""

import gzip
import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from asr.errors import InputError
from data_prep.download import Patience, check_md5, fetch, unpack

QUICK = Patience(attempts=3, timeout=5.0, backoff=0.0)


def _ranges(server):
    return [headers.get("Range") for _, headers in server.requests]


def test_a_whole_file_arrives_and_leaves_nothing_beside_it(server, tmp_path):
    target = fetch(f"{server.url}/a.tar.gz", tmp_path / "new" / "a.tar.gz", server.md5, QUICK)
    assert target.read_bytes() == server.content
    assert [path.name for path in target.parent.iterdir()] == ["a.tar.gz"]


def test_a_file_that_is_there_and_right_is_not_fetched_again(server, tmp_path):
    (tmp_path / "a").write_bytes(server.content)
    fetch(f"{server.url}/a", tmp_path / "a", server.md5, QUICK)
    assert server.requests == []


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(server, tmp_path, answer):
    server.script = [answer(cut=2_000_000), answer(cut=1_000_000)]
    target = fetch(f"{server.url}/a", tmp_path / "a", server.md5, QUICK)
    assert target.read_bytes() == server.content
    assert _ranges(server) == [None, "bytes=2000000-", "bytes=3000000-"]
    assert server.requests[1][1]["If-Range"] == '"one"'


def test_progress_resets_the_count_of_failures(server, tmp_path, answer):
    server.script = [answer(cut=500_000) for _ in range(8)]
    assert fetch(f"{server.url}/a", tmp_path / "a", server.md5, QUICK).read_bytes() == server.content


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(server, tmp_path, answer):
    server.script = [answer(cut=1_500_000), *(answer(status=503) for _ in range(9))]
    with pytest.raises(InputError, match=r"503.*3 times in a row.*1500000 bytes are kept"):
        fetch(f"{server.url}/a", tmp_path / "a", server.md5, QUICK)
    server.script, server.requests = [], []
    assert fetch(f"{server.url}/a", tmp_path / "a", server.md5, QUICK).read_bytes() == server.content
    assert _ranges(server) == ["bytes=1500000-"]


def test_a_server_that_refuses_ranges_is_asked_for_the_whole_anew(server, tmp_path, answer, capsys):
    server.script = [answer(cut=1_000_000, ranges=False), answer(ranges=False)]
    assert fetch(f"{server.url}/a", tmp_path / "a", server.md5, QUICK).read_bytes() == server.content
    assert "begun anew" in capsys.readouterr().err


def test_a_server_that_restarts_and_breaks_off_for_ever_is_given_up(server, tmp_path, answer):
    server.script = [answer(cut=1_000_000, ranges=False) for _ in range(20)]
    with pytest.raises(InputError, match="cannot fetch"):
        fetch(f"{server.url}/a", tmp_path / "a", server.md5, QUICK)
    assert len(server.requests) == 4


@pytest.mark.parametrize("tag", ['"two"', None])
def test_a_file_that_changes_on_the_server_is_begun_anew(server, tmp_path, answer, tag):
    old = bytes(len(server.content) + 7)
    server.script = [answer(cut=1_000_000, content=old, tag='"one"' if tag else None), answer(tag=tag), answer(tag=tag)]
    assert fetch(f"{server.url}/a", tmp_path / "a", server.md5, QUICK).read_bytes() == server.content


def test_a_weak_tag_is_not_used_to_resume(server, tmp_path, answer):
    server.script = [answer(cut=10, tag='W/"x"', headers={"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"})]
    fetch(f"{server.url}/a", tmp_path / "a", server.md5, QUICK)
    assert server.requests[1][1]["If-Range"] == "Mon, 01 Jan 2024 00:00:00 GMT"


def test_a_part_of_another_address_is_not_continued(server, tmp_path, answer):
    server.script = [answer(cut=1_000_000), *(answer(status=500) for _ in range(3))]
    with pytest.raises(InputError):
        fetch(f"{server.url}/old", tmp_path / "a", server.md5, QUICK)
    server.script, server.requests = [], []
    fetch(f"{server.url}/new", tmp_path / "a", server.md5, QUICK)
    assert _ranges(server) == [None]


def test_a_part_that_is_already_whole_is_recognised(server, tmp_path, answer):
    server.script = [answer(cut=4_999_999), answer(status=500), answer(status=500), answer(status=500)]
    with pytest.raises(InputError):
        fetch(f"{server.url}/a", tmp_path / "a", server.md5, QUICK)
    (tmp_path / "a.part").write_bytes(server.content)
    assert fetch(f"{server.url}/a", tmp_path / "a", server.md5, QUICK).read_bytes() == server.content


def test_a_part_longer_than_the_file_is_begun_anew(server, tmp_path, answer):
    server.script = [answer(cut=1_000_000), *(answer(status=500) for _ in range(3))]
    with pytest.raises(InputError):
        fetch(f"{server.url}/a", tmp_path / "a", server.md5, QUICK)
    (tmp_path / "a.part").write_bytes(server.content + b"more")
    assert fetch(f"{server.url}/a", tmp_path / "a", server.md5, QUICK).read_bytes() == server.content


def test_a_transfer_of_unknown_length_is_checked_by_its_sum(server, tmp_path, answer):
    server.script = [answer(length=False)]
    assert fetch(f"{server.url}/a", tmp_path / "a", server.md5, QUICK).read_bytes() == server.content


def test_a_corrupt_file_is_deleted_and_named_with_both_sums(server, tmp_path, answer):
    published = server.md5
    server.script = [answer(content=server.content[:-1] + b"?")]
    with pytest.raises(InputError, match=rf"a\.part is corrupt and was deleted.*{published}"):
        fetch(f"{server.url}/a", tmp_path / "a", published, QUICK)
    assert list(tmp_path.iterdir()) == []


def test_a_corrupt_file_found_in_place_is_deleted(tmp_path):
    (tmp_path / "a").write_bytes(b"abd")
    with pytest.raises(InputError, match="900150983cd24fb0d6963f7d28e17f72"):  # RFC 1321's sum of "abc"
        check_md5(tmp_path / "a", "900150983cd24fb0d6963f7d28e17f72")
    assert not (tmp_path / "a").exists()


def test_redirects_are_followed(server, tmp_path, answer):
    server.script = [answer(status=302, location="/elsewhere"), answer(status=307, location="/at/last")]
    assert fetch(f"{server.url}/a", tmp_path / "a", server.md5, QUICK).read_bytes() == server.content
    assert [path for path, _ in server.requests] == ["/a", "/elsewhere", "/at/last"]


def test_redirects_in_a_circle_end(server, tmp_path, answer):
    server.script = [answer(status=302, location="/a") for _ in range(99)]
    with pytest.raises(InputError, match="too many redirects"):
        fetch(f"{server.url}/a", tmp_path / "a", server.md5, QUICK)


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_not_tried_again(server, tmp_path, answer, status):
    server.script = [answer(status=status)]
    with pytest.raises(InputError, match=rf"cannot fetch {server.url}/gone: the server answers {status}"):
        fetch(f"{server.url}/gone", tmp_path / "a", server.md5, QUICK)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_passing_failure_is_tried_again(server, tmp_path, answer, status):
    server.script = [answer(status=status), answer(status=status)]
    assert fetch(f"{server.url}/a", tmp_path / "a", server.md5, QUICK).read_bytes() == server.content


def test_a_silent_server_is_given_up_with_a_reason(tmp_path, monkeypatch):
    import socket

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
        with pytest.raises(InputError, match=r"Read timed out.*2 times in a row"):
            fetch(url, tmp_path / "a", None, Patience(attempts=2, timeout=0.2, backoff=0.0))


def test_a_host_that_does_not_answer_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:9/a: .*[Rr]efused"):
        fetch("http://127.0.0.1:9/a", tmp_path / "a", None, Patience(attempts=1, timeout=1.0, backoff=0.0))


def test_pauses_double_until_bytes_arrive_again(server, tmp_path, answer, monkeypatch):
    pauses = []
    monkeypatch.setattr("data_prep.download.time.sleep", pauses.append)
    server.script = [answer(status=500), answer(status=500), answer(status=500), answer(cut=1000), answer(status=500)]
    fetch(f"{server.url}/a", tmp_path / "a", server.md5, Patience(attempts=9, timeout=5.0, backoff=1.0))
    assert pauses == [1.0, 2.0, 4.0, 1.0, 1.0]


def test_the_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", server.url)
    fetch("http://corpus.invalid/a", tmp_path / "a", server.md5, QUICK)
    assert server.requests[0][0] == "http://corpus.invalid/a"


def test_a_file_in_the_place_of_the_folder_is_named(server, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match=r"cannot write .*taken"):
        fetch(f"{server.url}/a", tmp_path / "taken" / "a", server.md5, QUICK)


def test_a_full_disk_is_named_and_what_arrived_stays(server, tmp_path):
    program = (
        "import resource, signal, sys; from pathlib import Path; from data_prep.download import fetch;"
        "from asr.errors import InputError;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))\n"
        "try: fetch(sys.argv[1], Path(sys.argv[2]))\n"
        "except InputError as error: sys.exit(str(error))"
    )
    command = [sys.executable, "-c", program, f"{server.url}/a", str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"cannot write {tmp_path / 'a.part'}: File too large" in done.stderr
    assert (tmp_path / "a.part").read_bytes() == server.content[:1_000_000]
    assert fetch(f"{server.url}/a", tmp_path / "a", server.md5, QUICK).read_bytes() == server.content
    assert _ranges(server)[-1] == "bytes=1000000-"


# ---- archives --------------------------------------------------------------------------------------------------------


def _archive(path: Path, *members: tarfile.TarInfo | str) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = 4 if info.isfile() else 0
            tar.addfile(info, io.BytesIO(b"data"))
    return path


def _special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


GOOD = ("L/README.TXT", "L/dev/1/2/a.flac", "L/dev/1/2/b.flac", "L/other/c.flac")


def test_the_wanted_folder_and_the_files_beside_it_appear(tmp_path):
    folder = unpack(_archive(tmp_path / "a.tar.gz", *GOOD), tmp_path / "to", "L/dev")
    assert folder == tmp_path / "to" / "dev"
    found = {str(path.relative_to(tmp_path / "to")) for path in (tmp_path / "to").rglob("*") if path.is_file()}
    assert found == {"README.TXT", "dev/1/2/a.flac", "dev/1/2/b.flac"}
    assert (folder / "1/2/a.flac").read_bytes() == b"data"


def test_files_beside_the_folder_that_are_there_stay_as_they_are(tmp_path):
    (tmp_path / "README.TXT").write_text("mine")
    unpack(_archive(tmp_path / "a.tar.gz", *GOOD), tmp_path, "L/dev")
    assert (tmp_path / "README.TXT").read_text() == "mine"


@pytest.mark.parametrize(
    "evil",
    [
        "../evil",
        "L/dev/../../../evil",
        "/evil",
        "L\\..\\..\\evil",
        "C:/evil",
        _special("L/dev/link", tarfile.SYMTYPE, "/etc/passwd"),
        _special("L/dev/hard", tarfile.LNKTYPE, "L/dev/1/2/a.flac"),
        _special("L/dev/device", tarfile.CHRTYPE),
        _special("L/dev/pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda evil: evil if isinstance(evil, str) else evil.name,
)
def test_a_hostile_member_is_refused_by_name_and_nothing_is_unpacked(tmp_path, evil):
    folder = tmp_path / "deep" / "to"
    folder.mkdir(parents=True)
    name = evil if isinstance(evil, str) else evil.name
    archive = _archive(tmp_path / "a.tar.gz", *GOOD, evil)
    with pytest.raises(InputError) as caught:
        unpack(archive, folder, "L/dev")
    assert repr(name) in str(caught.value)
    assert str(archive) in str(caught.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar.gz", "deep", "to"]


def test_a_truncated_archive_is_named_and_nothing_is_unpacked(tmp_path):
    whole = _archive(tmp_path / "whole.tar.gz", *GOOD).read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a\.tar\.gz is damaged"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "to", "L/dev")
    assert list((tmp_path / "to").iterdir()) == []


def test_an_archive_with_flipped_bits_is_named(tmp_path):
    packed = bytearray(gzip.compress(gzip.decompress(_archive(tmp_path / "a.tar.gz", *GOOD).read_bytes())))
    packed[-6] ^= 0xFF  # in gzip's checksum
    (tmp_path / "a.tar.gz").write_bytes(packed)
    with pytest.raises(InputError, match=r"a\.tar\.gz"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "to", "L/dev")


def test_something_else_than_an_archive_is_named(tmp_path):
    (tmp_path / "a.tar.gz").write_text("<html>please log in</html>")
    with pytest.raises(InputError, match=r"a\.tar\.gz is damaged"):
        unpack(tmp_path / "a.tar.gz", tmp_path, "L/dev")


def test_an_archive_without_the_wanted_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="holds no folder L/test"):
        unpack(_archive(tmp_path / "a.tar.gz", *GOOD), tmp_path / "to", "L/test")


def test_an_interrupted_unpacking_is_done_again(tmp_path, monkeypatch):
    archive = _archive(tmp_path / "a.tar.gz", *GOOD)
    copied = []

    def stop_after_two(source, target, length):
        copied.append(target.name)
        if len(copied) == 3:
            raise KeyboardInterrupt
        target.write(source.read())

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            unpack(archive, tmp_path, "L/dev")
    assert not (tmp_path / "dev").exists()
    (tmp_path / ".a.tar.gz.unpacking" / "L").mkdir(parents=True)  # as left by a process that was killed
    assert len(list(unpack(archive, tmp_path, "L/dev").rglob("*.flac"))) == 2
    assert not (tmp_path / ".a.tar.gz.unpacking").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match=r"cannot unpack .*a\.tar\.gz into .*taken"):
        unpack(_archive(tmp_path / "a.tar.gz", *GOOD), tmp_path / "taken", "L/dev")
