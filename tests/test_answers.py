"""Answers on disk: appended by many at once, torn by a crash, carried to a spreadsheet and back, joined."""

import csv
import json
import multiprocessing
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lis_toolkit.errors import LisError
from lis_toolkit.labels import Answer, Answers, export_csv, import_csv, merge_answers
from lis_toolkit.labels import answers as module


def an_answer(player="ann", label="long sleeve", cluster=1, **changes):
    given = {"guess": "Coat", "step": 2, "kind": "answer" if label else "no idea"} | changes
    return Answer(player, "8c1f", 0, "body.9", cluster, "Coat", label, **given)


def test_a_line_is_all_there_is_to_an_answer(tmp_path):
    path = tmp_path / "deep" / "answers.jsonl"
    answers = Answers(path)
    assert len(answers) == 0 and not path.exists()
    one = an_answer(label='"Ärmel",\nlang 👕 \u2028', time="2026-11-22T10:00:00.000+00:00")
    answers.add(one)
    (line,) = path.read_bytes().decode().split("\n")[:-1]
    assert json.loads(line) == {
        "player": "ann", "explanation": "8c1f", "image": 0, "layer": "body.9", "cluster": 1, "target": "Coat",
        "label": one.label, "guess": "Coat", "step": 2, "kind": "answer", "time": "2026-11-22T10:00:00.000+00:00",
        "versions": one.versions,
    }  # fmt: skip
    assert list(Answers(path)) == list(answers) == [one] and "lis_toolkit" in one.versions
    answers.add(an_answer(label="half \ud83d a pair"))  # no file holds half a pair
    assert list(Answers(path))[1].label == "half ? a pair"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"step": 0}, "step is 0"),
        ({"step": 7}, "step is 7"),
        ({"step": True}, "step is True"),
        ({"cluster": -1}, "cluster is -1"),
        ({"cluster": 1.0}, "cluster is 1.0"),
        ({"player": " "}, "player's name"),
        ({"player": None}, "player is None"),
        ({"label": "x" * 201}, "201 letters"),
        ({"kind": "maybe"}, "one of answer, no idea, more, skip"),
        ({"kind": "skip"}, "only an answer has one"),
        ({"label": " ", "kind": "answer"}, "only an answer has one"),
        ({"guess": 3}, "guess is 3"),
        ({"versions": {"a": 1}}, "versions"),
    ],
)
def test_what_is_no_answer_is_refused(changes, told):
    with pytest.raises(LisError, match=told):
        an_answer(**changes)


def write_many(path, player, count):
    answers = Answers(path)
    for i in range(count):
        answers.add(an_answer(player, f"label {i} of {player} " + "x" * (i % 50), cluster=i))


def test_several_processes_write_one_file_and_nothing_is_lost(tmp_path):
    path = tmp_path / "answers.jsonl"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=write_many, args=(path, f"player {i}", 60)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    answers = Answers(path)
    assert not answers.damaged and len(answers) == 240
    for i in range(4):
        assert [one.cluster for one in answers.of_player(f"player {i}")] == list(range(60))


def test_what_others_write_is_seen_after_a_while(tmp_path):
    path = tmp_path / "answers.jsonl"
    mine, theirs = Answers(path), Answers(path)
    theirs.add(an_answer("ben"))
    assert len(mine) == 0 and mine.refresh() == 1 and mine.refresh() == 0
    mine.add(an_answer("ann"))
    assert [one.player for one in mine] == ["ben", "ann"]
    path.unlink()
    assert mine.refresh() == 0 and len(mine) == 0
    write_many(path, "cy", 3)
    assert mine.refresh() == 3
    path.write_text("")
    mine.refresh()
    assert len(mine) == 0


def test_a_torn_line_spoils_no_other_wherever_the_crash_was(tmp_path):
    path = tmp_path / "answers.jsonl"
    for one in ("long sleeve", "Ärmel", "hem"):
        Answers(path).add(an_answer(label=one))
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for end in (*range(last + 1, len(whole) - 3, 17), *range(len(whole) - 3, len(whole) + 1)):
        path.write_bytes(whole[:end])
        read = Answers(path)
        complete = end >= len(whole) - 1  # all of it, perhaps without its end of line
        assert len(read) == 2 + complete and len(read.damaged) == (not complete)
        if not complete:
            assert read.damaged[0].line == 3
        read.add(an_answer("ben", "collar"))
        again = Answers(path)
        assert [one.label for one in again] == [
            "long sleeve",
            "Ärmel",
            *(["hem"] if complete else []),
            "collar",
        ]
        assert [one.line for one in again.damaged] == ([] if complete else [3])
        assert [(one.line, one.text) for one in read.damaged] == [
            (one.line, one.text) for one in again.damaged
        ]
        assert path.read_bytes().startswith(whole[:end])  # what is torn is kept


def test_lines_that_are_no_answers_are_told_and_kept(tmp_path):
    path = tmp_path / "answers.jsonl"
    write_many(path, "ann", 1)
    strange = [b"{}", b"[]", b"3", b"\xff\xfe", b"", b"nonsense", b"[" * 100_000,
               json.dumps(vars(an_answer()) | {"step": 9}).encode(),
               json.dumps(vars(an_answer("ben")) | {"mood": "good"}).encode()]  # fmt: skip
    with open(path, "ab") as file:
        file.write(b"\n".join(strange) + b"\r\n")
    answers = Answers(path)
    assert [one.player for one in answers] == ["ann", "ben"]  # a field of a later version is passed over
    assert [one.line for one in answers.damaged] == [2, 3, 4, 5, 7, 8, 9]
    assert "has no player" in answers.damaged[0].reason and "step is 9" in answers.damaged[-1].reason


def test_a_full_disk_is_told_and_the_answer_can_be_sent_again(tmp_path, monkeypatch):
    answers = Answers(tmp_path / "answers.jsonl")
    answers.add(an_answer(label="first"))
    real = os.write
    monkeypatch.setattr(module.os, "write", lambda handle, data: real(handle, data[:10]))
    with pytest.raises(LisError, match="only 10 of .* not saved"):
        answers.add(an_answer(label="second"))
    monkeypatch.undo()
    answers.add(an_answer(label="second"))
    again = Answers(answers.path)
    assert [one.label for one in again] == ["first", "second"] and len(again.damaged) == 1
    with pytest.raises(LisError, match="can't read"):
        Answers(tmp_path)


def test_the_first_answer_of_a_player_to_a_question_counts(tmp_path):
    answers = Answers(tmp_path / "answers.jsonl")
    for one in (
        an_answer(label="", kind="more"),
        an_answer(label="late", time="2026-01-02T00:00:00+00:00"),
        an_answer(label="early", time="2026-01-01T20:00:00-05:00"),  # 1:00 UTC on the 2nd: later than late
        an_answer(label="first", time="2026-01-01T00:00:00Z"),
        an_answer(label="unknown", time="yesterday"),
        an_answer("ben", "", time="2026-01-03T00:00:00Z"),
        an_answer(label="other", cluster=2),
        an_answer(label="other", cluster=2),
        an_answer(label="", kind="skip", cluster=3),
    ):
        answers.add(one)
    assert [(one.player, one.label) for one in answers.counted] == [
        ("ann", "first"),
        ("ben", ""),
        ("ann", "other"),
    ]
    table = answers.table()
    assert list(table["label"]) == ["first", "", "other"] and "versions" not in table


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
awkward = st.sampled_from(
    [
        "=1+1",
        "'tis",
        "''",
        "'=x",
        "-",
        "+3",
        "@a",
        "\tb",
        "\rc",
        'a"b""',
        "a,b;c",
        "a\nb\r\nc",
        "ü\u2028",
        " x ",
    ]
)


@given(labels=st.lists((texts | awkward).filter(str.strip), min_size=1, max_size=6), everything=st.booleans())
def test_csv_brings_back_every_answer(tmp_path_factory, labels, everything):
    path = tmp_path_factory.mktemp("csv") / "answers.csv"
    guesses = ["'Coat", None, "=Bag"]
    listed = [an_answer("=ann", label, i, guess=guesses[i % 3]) for i, label in enumerate(labels)]
    listed.append(an_answer("ben", ""))
    assert export_csv(listed, path, everything) == len(listed)
    assert import_csv(path) == listed


def test_no_cell_is_a_formula_to_a_spreadsheet(tmp_path):
    path = tmp_path / "answers.csv"
    wide = [
        an_answer(label=label, cluster=i) for i, label in enumerate(("＝1", "＋1", "－1", "＠1", "\n=1"), 2)
    ]
    given = [an_answer("@SUM(A1)", '=HYPERLINK("x")', guess="+1"), an_answer(label="-"), *wide]
    export_csv(given, path)
    assert import_csv(path) == given
    assert path.read_bytes().startswith(b"\xef\xbb\xbfplayer,")
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1][0] == "'@SUM(A1)" and rows[1][6] == '\'=HYPERLINK("x")' and rows[1][7] == "'+1"
    assert not any(cell[:1] in tuple("=+-@\t\r\n＝＋－＠") and cell for row in rows for cell in row)


HEAD = "player,explanation,image,layer,cluster,target,label,guess,step\n"


def test_a_crowds_own_csv_needs_no_more_than_it_must(tmp_path):
    path = tmp_path / "crowd.csv"
    rows = ["worker,STEP,Label,guess,target,cluster,layer,image,explanation, player ",
            'w1,3,"the ""hem""\nof it",Bag,Coat,0,body.1,2,8c1f,ann', "",
            "w2,6,,,Coat,0,body.1,2,8c1f,ben"]  # fmt: skip
    path.write_text("\n".join(rows) + "\n")
    first, second = import_csv(path)
    assert (first.player, first.label, first.step, first.kind) == ("ann", 'the "hem"\nof it', 3, "answer")
    assert (second.label, second.guess, second.kind) == ("", None, "no idea") and second.time


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: there is no column player"),
        ("player;label\n", "line 1: there is no column player"),
        (HEAD.replace("label", "lable"), "line 1: there is no column label.* Did you mean 'lable'"),
        (HEAD.replace("target", "label"), "line 1: there is no column target"),
        (HEAD[:-1] + ",label\n", "line 1: the column label is there 2 times"),
        (HEAD + "ann,8c,0,b,0,Coat,hem,Bag,1\nann,8c,0,b,1,Coat,hem\n", "line 3: 7 cells for 9"),
        (HEAD + 'ann,8c,0,b,0,Coat,"he\nm",Bag,1\nann,8c,one,b,1,Coat,hem,,1\n', "line 4: image is 'one'"),
        (HEAD + "ann,8c,0,b,1,Coat,hem,,9\n", "line 2: step is 9"),
        (HEAD + ",8c,0,b,1,Coat,hem,,1\n", "line 2: the player's name"),
        (HEAD + 'ann,8c,0,b,1,Coat,"hem,,1\n', "line 2: .* no proper CSV"),
        (HEAD + "ann,8c,0,b,1,Coat," + "x" * 200_000 + ",,1\n", "line 2: .*field"),
    ],
)
def test_foreign_files_are_refused_with_their_line(tmp_path, text, told):
    path = tmp_path / "foreign.csv"
    path.write_text(text)
    with pytest.raises(LisError, match=told):
        import_csv(path)


def test_other_files_are_told_too(tmp_path):
    path = tmp_path / "latin.csv"
    path.write_bytes(HEAD.encode() + "ann,8c,0,b,1,Coat,Ärmel,,1\n".encode("latin-1"))
    with pytest.raises(LisError, match="not UTF-8"):
        import_csv(path)
    with pytest.raises(LisError, match="can't read"):
        import_csv(tmp_path / "none.csv")


def test_files_are_joined_line_by_line_and_none_twice(tmp_path):
    paths = [tmp_path / f"{name}.jsonl" for name in ("ann", "ben", "both")]
    write_many(paths[0], "ann", 3)
    write_many(paths[1], "ben", 2)
    paths[2].write_bytes(paths[0].read_bytes() + paths[1].read_bytes()[:-20])  # the last line is torn
    before = [path.read_bytes() for path in paths]
    into = tmp_path / "all.jsonl"
    with pytest.raises(LisError, match=r"both.jsonl, line 5 is no answer"):
        merge_answers(paths, into)
    assert not into.exists()
    assert merge_answers(paths, into, leave_out_damaged=True) == 5
    merged = Answers(into)
    assert [one.player for one in merged] == ["ann"] * 3 + ["ben"] * 2 and not merged.damaged
    assert [path.read_bytes() for path in paths] == before
    refused = [
        (paths, into, "there already"),
        ([], tmp_path / "x", "no files"),
        ([tmp_path / "y"], tmp_path / "x", "no file"),
    ]
    for files, place, told in refused:
        with pytest.raises(LisError, match=told):
            merge_answers(files, place)


def test_another_file_in_its_place_is_read_anew(tmp_path):
    path, other = tmp_path / "answers.jsonl", tmp_path / "other.jsonl"
    answers = Answers(path)
    answers.add(an_answer())
    for i in range(4):
        Answers(other).add(an_answer(label="other", cluster=i))
    os.replace(other, path)  # longer than what was read: its size does not tell
    answers.refresh()
    assert [one.label for one in answers] == ["other"] * 4 and not answers.damaged


def test_what_are_no_answers_is_said():
    for wrong, told in (("answers.jsonl", "str"), (None, "NoneType"), ([1], "int"), (3, "int")):
        with pytest.raises(LisError, match=rf"the answers are {told}; an Answers file"):
            module.counted(wrong)


def test_a_last_line_without_its_end_is_read_once(tmp_path):
    path = tmp_path / "answers.jsonl"
    answers = Answers(path)
    answers.add(Answer("ann", "8c", 0, "body.1", 0, "Coat", "sleeve", "Coat"))
    path.write_bytes(path.read_bytes().rstrip(b"\n"))  # an editor saved it so
    again = Answers(path)
    assert len(again) == 1 and again.refresh() == 0 and len(again) == 1
    again.add(Answer("ben", "8c", 0, "body.1", 0, "Coat", "collar", "Coat"))
    assert [one.label for one in again] == ["sleeve", "collar"] == [one.label for one in Answers(path)]
    assert not again.damaged
