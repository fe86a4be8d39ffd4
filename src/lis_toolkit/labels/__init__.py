"""What cluster maps show, in words: a game in which people say it, and what is made of their answers."""

from __future__ import annotations

from .answer_files import export_csv, import_csv, merge_answers
from .answers import Answer, Answers
from .concepts import most_of, striped
from .embeddings import Embedding, choose_embedding, measure_synonyms
from .game import Game, Question, explanation_questions, make_question
from .global_explanation import GlobalExplanation, explain_globally
from .global_figure import global_figure
from .processing import ClusterLabels, label_score, process_labels
from .reveal import REVEAL_SHARES, reveal, reveal_mask, revealed_pixels
from .session import GameSession
from .tcav import validate_concepts
from .tcav_plots import concept_figure

__all__ = [
    "REVEAL_SHARES",
    "Answer",
    "Answers",
    "ClusterLabels",
    "Embedding",
    "Game",
    "GameSession",
    "GlobalExplanation",
    "Question",
    "choose_embedding",
    "concept_figure",
    "explain_globally",
    "explanation_questions",
    "export_csv",
    "global_figure",
    "import_csv",
    "label_score",
    "make_question",
    "measure_synonyms",
    "merge_answers",
    "most_of",
    "process_labels",
    "reveal",
    "reveal_mask",
    "revealed_pixels",
    "striped",
    "validate_concepts",
]
