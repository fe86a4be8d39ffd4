"""Rankings of units as pictures and text: figures for print, charts for notebooks, contact sheets, `lis rank`."""

from .agreement_plots import photograph_check_plot, screening_plot
from .charts import forest_chart, map_chart, profile_chart, volcano_chart
from .command import rank_sweep, ranking_text, write_ranking
from .plots import class_profiles, forest_plot, selectivity_map, volcano_plot
from .sheets import ranking_sheet, typical_samples
from .tuned_sheets import tune_parts, tuned_sheet

__all__ = [
    "class_profiles",
    "forest_chart",
    "forest_plot",
    "map_chart",
    "photograph_check_plot",
    "profile_chart",
    "rank_sweep",
    "ranking_sheet",
    "ranking_text",
    "screening_plot",
    "selectivity_map",
    "tune_parts",
    "tuned_sheet",
    "typical_samples",
    "volcano_chart",
    "volcano_plot",
    "write_ranking",
]
