"""The reveal game without a browser: what is seen, who is asked what, what is written, what is told when."""

import json

import numpy as np
import pytest
import torch

from lis_toolkit.errors import LisError
from lis_toolkit.labels import (
    REVEAL_SHARES,
    Answers,
    Game,
    GameSession,
    explanation_questions,
    make_question,
    reveal,
    reveal_mask,
    revealed_pixels,
)
from lis_widgets import RevealGame
from reveal_questions import CLASSES, plain_reveal, some_questions
from tiny import tiny_classifier, tiny_generator


def test_the_reveal_is_that_of_a_plain_rederivation():
    rng = torch.Generator().manual_seed(0)
    for channels, size, h in ((1, (16, 16), 4), (3, (20, 16), 5)):
        x, small = torch.rand(channels, *size, generator=rng), torch.rand(h, 4, generator=rng)
        for step, share in enumerate(REVEAL_SHARES, 1):
            expected, hard = plain_reveal(
                x.numpy().astype(float), small.double().numpy(), share, min(size) / 32
            )
            assert (revealed_pixels(small, size, step).numpy() == hard.astype(bool)).all()
            assert hard.sum() == round(share * size[0] * size[1])
            np.testing.assert_allclose(reveal(x, small, step).numpy(), expected, atol=1e-6)


def test_every_step_shows_all_that_the_one_before_did_and_more():
    small = torch.rand(6, 6, generator=torch.Generator().manual_seed(1))
    masks = [reveal_mask(small, (32, 32), step) for step in range(1, 7)]
    for before, after in zip(masks, masks[1:], strict=False):
        assert bool((after >= before - 1e-6).all()) and after.sum() > before.sum()
    assert all(mask.min() >= 0 and mask.max() == 1 for mask in masks)


def test_equal_pixels_come_row_by_row_and_the_lowest_never():
    steps = torch.zeros(8, 8)
    steps[3:5] = 1.0  # 16 of 64 pixels
    assert revealed_pixels(steps, (8, 8), 1).nonzero().tolist() == [[3, 0]]
    assert revealed_pixels(steps, (8, 8), 3).nonzero().tolist() == [[3, column] for column in range(5)]
    assert revealed_pixels(steps, (8, 8), 6).sum() == 16  # 19 are asked for: the rest is nowhere salient
    again = [revealed_pixels(steps, (8, 8), 4) for _ in range(3)]
    assert all(bool((one == again[0]).all()) for one in again)


@pytest.mark.parametrize(
    ("saliency", "step", "told"),
    [
        (torch.zeros(4, 4), 1, "same everywhere"),
        (torch.full((4, 4), torch.nan), 1, "NaN"),
        (torch.rand(4), 1, r"shape \[4\]"),
        ("map", 1, "str"),
        (torch.rand(4, 4), 7, "1 to 6"),
        (torch.rand(4, 4), 0, "1 to 6"),
    ],
)
def test_what_can_not_be_revealed_is_said(saliency, step, told):
    with pytest.raises(LisError, match=told):
        reveal(torch.rand(1, 16, 16), saliency, step)


def test_of_many_classes_a_few_are_offered_the_same_to_everyone():
    names = tuple(f"class {k}" for k in range(1000))
    x, small = torch.rand(1, 16, 16), torch.rand(4, 4)
    found = [make_question(x, small, "class 700", names, cluster=c) for c in range(2)]
    assert found[0].choices == found[1].choices and len(set(found[0].choices)) == 10
    assert "class 700" in found[0].choices and list(found[0].choices) == sorted(
        found[0].choices, key=names.index
    )
    places = [
        make_question(torch.rand(1, 16, 16), small, 700, names).choices.index("class 700") for _ in range(30)
    ]
    assert len(set(places)) > 3  # the place does not tell
    with pytest.raises(LisError, match="at least two"):
        make_question(x, small, "one", ("one",))
    with pytest.raises(LisError, match="Did you mean 'Coat'"):
        make_question(x, small, "Coet", CLASSES)


def test_orders_are_whole_their_own_and_never_twice_the_same_picture():
    questions = some_questions(images=7)
    game = Game(questions, seed=5)
    for player in ("ann", "ben", "Zoë"):
        order = game.order(player)
        assert sorted(q.key for q in order) == sorted(q.key for q in questions)
        assert [q.key for q in Game(questions, seed=5).order(player)] == [q.key for q in order]
        assert all(a.image != b.image for a, b in zip(order[:16], order[1:17], strict=True))
    assert [q.key for q in game.order("ann")] != [q.key for q in game.order("ben")]
    assert [q.key for q in game.order("ann")] != [q.key for q in Game(questions, seed=6).order("ann")]
    with pytest.raises(LisError, match="no questions"):
        Game([])
    with pytest.raises(LisError, match="there twice"):
        Game([questions[0], questions[0]])


def test_the_order_is_known_and_so_the_same_in_every_process():
    order = Game(some_questions(), 2).order("ann")
    told = [(q.image, q.layer, q.cluster) for q in order[:4]]
    assert told == [(0, "body.1", 0), (1, "body.3", 1), (2, "body.3", 1), (0, "body.1", 1)]


def test_explanations_become_questions():
    from lis_toolkit.saliency import explain_images

    generator = tiny_generator()
    classifier = tiny_classifier(generator)
    x = generator.render(generator.map(generator.sample_z(3, 0), [0, 1, 2]))
    explanations = explain_images(classifier, x, [0, 1, 2], method="pca")
    questions = explanation_questions(explanations)
    shown = sum(len(layer.clusters) for e in explanations for layer in e.layers)
    assert 0 < len(questions) <= shown and {q.target for q in questions} <= set(classifier.classes)
    assert len({q.explanation for q in questions}) == len({q.image for q in questions}) == 3
    one = questions[0]
    assert one.map.shape == x.shape[2:] and one.choices == tuple(classifier.classes)
    name = one.layer
    assert {q.layer for q in explanation_questions(explanations, layers=name)} == {name}
    assert len(Game(explanations)) == len(questions)
    with pytest.raises(LisError, match="no layer 'body.99'"):
        explanation_questions(explanations, layers=["body.99"])
    with pytest.raises(LisError, match="of a unit"):
        explanation_questions(explain_images(classifier, x[:1], unit=0, method="pca"))
    with pytest.raises(LisError, match="explanation 0 is int"):
        Game([1])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.jsonl"


def test_a_player_goes_through_all_questions_and_goes_on_where_they_stopped(path):
    game = Game(some_questions(), seed=1)
    session = GameSession(game, path, "ann")
    asked = []
    for _ in range(5):
        asked.append(session.question.key)
        session.submit("hem", "Bag")
    session.more()
    session.more()
    again = GameSession(game, path, " ann ")
    assert (again.done, again.total, again.step) == (5, 12, 3) and again.question.key == session.question.key
    while again.question is not None:
        asked.append(again.question.key)
        again.no_idea()
    assert asked == [q.key for q in game.order("ann")] and again.panel().shape == (1, 16, 16, 3)
    for do in (again.more, again.no_idea, again.skip, lambda: again.submit("hem", "Bag")):
        with pytest.raises(LisError, match="all questions are answered"):
            do()


def test_what_is_put_off_comes_at_the_end_in_turn_and_as_far_revealed(path):
    game = Game(some_questions(images=2, clusters=1), seed=1)
    order = [q.key for q in game.order("ann")]
    session = GameSession(game, path, "ann")
    session.more()
    session.skip()
    session.skip()
    seen = [session.question.key]
    session.no_idea()
    session = GameSession(game, path, "ann")
    for _ in range(3):
        seen.append(session.question.key)
        assert session.step == (2 if seen[-1] == order[0] else 1)
        session.no_idea()
    assert seen == [order[2], order[3], order[0], order[1]]


def test_refused_answers_leave_everything_as_it_was(path):
    session = GameSession(Game(some_questions()), path, "ann")
    key = session.question.key
    refused = [("", "Coat", "is empty"), (" \n", "Coat", "is empty"), ("hem", None, "no class"),
               ("hem", "Cat", "no class"), ("x" * 201, "Coat", "201")]  # fmt: skip
    for label, guess, told in refused:
        with pytest.raises(LisError, match=told):
            session.submit(label, guess)
    assert not path.exists() and session.question.key == key
    for _ in range(5):
        session.more()
    with pytest.raises(LisError, match="no more to see"):
        session.more()
    path.unlink()
    path.mkdir()
    with pytest.raises(LisError, match="can't write the answer"):
        session.submit("hem", "Coat")
    assert session.question.key == key and session.step == 6
    for player in ("", "  ", "x" * 81, 3):
        with pytest.raises(LisError, match="a name of 1 to 80"):
            GameSession(Game(some_questions()), path, player)


def test_the_class_is_told_when_all_of_a_picture_is_answered(path):
    questions = some_questions(images=2, clusters=2, layers=("a",))
    session = GameSession(Game(questions), path, "ann")
    order, points = session.game.order("ann"), {0: 0, 1: 0}
    left = {0: 2, 1: 2}
    for number, question in enumerate(order):
        if number % 2:
            session.more()
        target = CLASSES[question.image]
        guess = target if number != 2 else "Sandal"
        step = session.step
        session.submit("hem", guess)
        left[question.image] -= 1
        points[question.image] += (7 - step) * (guess == target)
        assert (session.finished is not None) == (left[question.image] == 0)
        assert session.score == sum(points[i] for i in left if left[i] == 0)
    assert session.score == 6 + 5 + 5  # one wrong


# The widget, as a page would talk to it.


@pytest.fixture
def widget(path):
    made = RevealGame(Game(some_questions()), path, "ann")
    made.form.send = lambda content, buffers=None: None
    yield made
    made.close()


def says(widget, kind, label="", guess=None, question=None):
    number = widget.form.number if question is None else question
    widget.form._receive(widget.form, {"kind": kind, "question": number, "label": label, "guess": guess}, [])


def test_the_widget_shows_what_the_session_asks_and_writes_at_once(widget, path):
    question = widget.session.question
    assert (widget.picture.panels[0, :, :, 0] == np.round(255 * question.picture(1)[0].numpy())).all()
    says(widget, "more")
    assert widget.form.step == 2 and "4.5%" in widget.form.feedback
    assert (widget.picture.panels[0, :, :, 0] == np.round(255 * question.picture(2)[0].numpy())).all()
    number = widget.form.number
    says(widget, "submit", " long  sleeve ", "Bag")
    line = json.loads(path.read_text().splitlines()[-1])
    assert (line["label"], line["guess"], line["step"], line["target"]) == (
        "long sleeve", "Bag", 2, question.target,
    )  # fmt: skip
    assert widget.form.number == number + 1 and widget.form.done == 1 and widget.form.step == 1
    says(widget, "submit", "twice", "Bag", question=number)  # Enter pressed twice
    assert widget.session.done == 1
    says(widget, "skip")
    says(widget, "no idea", guess="Coat")
    assert [one.kind for one in Answers(path)] == ["more", "answer", "skip", "no idea"]


def test_the_widget_tells_errors_below_and_takes_no_nonsense(widget, path):
    says(widget, "submit", "hem", None)
    assert widget.message.kind == "error" and "no class" in widget.message.text
    assert widget.children[-1] is widget.message and not path.exists()
    for content in (
        None,
        3,
        {},
        {"kind": "eval"},
        {"kind": "submit"},
        {"kind": "submit", "question": 1, "label": 3},
    ):
        widget.form._receive(widget.form, content, [])
    assert widget.session.done == 0
    says(widget, "submit", "hem", "Coat")
    assert widget.message.kind == "" and widget.session.done == 1


def test_nothing_that_is_sent_gives_the_class_away(path):
    names = ("Coat", "Shirt")
    sent = []
    for target in names:
        rng = torch.Generator().manual_seed(0)
        x, small = torch.rand(1, 16, 16, generator=rng), torch.rand(4, 4, generator=rng)
        made = RevealGame(
            Game([make_question(x, small, target, names)]), path.with_name(f"{len(sent)}.jsonl"), "ann"
        )
        states = [{k: v for k, v in part.get_state().items() if "_" not in k[:1] and k not in ("layout", "children")}
                  for part in (made, made.picture, made.form, made.message)]  # fmt: skip
        sent.append([{k: v for k, v in s.items() if not str(v).startswith("IPY_MODEL")} for s in states])
        made.close()
    assert sent[0] == sent[1]
    assert len(sent[0][1]["rgb"]) == 16 * 16 * 3


def test_two_players_share_a_file_and_are_asked_apart(path):
    game = Game(some_questions())
    ann, ben = (RevealGame(game, path, name) for name in ("ann", "ben"))
    says(ann, "submit", "hem", "Coat")
    says(ben, "submit", "collar", "Coat")
    assert ann.session.done == ben.session.done == 1
    again = RevealGame(game, path, "ann")
    assert again.form.feedback == "Welcome back, ann." and again.session.done == 1
    for made in (ann, ben, again):
        made.close()


def test_a_page_without_a_kernel_sees_the_picture_but_not_the_class(widget):
    text = widget.static_view()
    assert "data:image/png" in text and not any(name in text for name in CLASSES)


def test_the_very_first_question_can_be_put_off(path):
    session = GameSession(Game(some_questions(images=2, clusters=1), seed=1), path, "ann")
    first = session.question.key
    session.skip()  # the first line of the file
    assert session.question.key != first
