"""The cells of a profile: their order, their names, and what is refused."""

from itertools import groupby

import pytest

from cladec_companion.engine import runner
from cladec_companion.engine.plan import of_profile, tables_of
from cladec_companion.papers import CHAPTERS, settings_for
from cladec_core.errors import UsageError

TRAINED = {name: chapter for name, chapter in CHAPTERS.items() if chapter.trains}
TABLES = tables_of(TRAINED)


def test_the_papers_tables_are_those_of_the_chapters():
    assert TABLES == {
        "table2": ("layers", "vgg11"), "table3": ("layers", "resnet10"), "table4": ("alpha", "vgg11"),
        "table5": ("alpha", "resnet10"), "table6": ("encoder_training", "vgg11"), "table7": ("occlusion", "vgg11"),
        "table8": ("occlusion", "resnet10"),
    }  # fmt: skip
    assert list(TABLES) == sorted(TABLES)


def test_the_paper_is_trained_data_set_by_data_set_and_table_by_table():
    tasks = of_profile(CHAPTERS, "paper")
    kinds = [(task.cell.dataset, task.settings.experiment, task.cell.architecture) for task in tasks]
    tables = [kind for kind, _ in groupby(kinds) if kind[1:] in TABLES.values()]
    shown = {name: settings_for(name, "paper").datasets for name, _ in TABLES.values()}
    assert tables == [
        (dataset, *table)
        for dataset in ("fashion_mnist", "mnist", "cifar100")
        for table in TABLES.values()
        if dataset in shown[table[0]]
    ]
    for _, of_one in groupby(kinds, lambda kind: kind[0]):
        has_table = [kind[1:] in TABLES.values() for kind in of_one]
        assert has_table == sorted(has_table, reverse=True)
    assert sorted(map(str, tasks)) == sorted(
        f"{name}/{cell}"
        for name, chapter in TRAINED.items()
        for cell in runner.plan(chapter, settings_for(name, "paper"))
    )


def test_the_cells_of_a_run_stand_together_and_the_first_seed_comes_first():
    for _, same in groupby(of_profile(CHAPTERS, "paper"), lambda task: (task.cell.dataset, task.settings.experiment)):
        runs = [run for run, _ in groupby(task.cell.run for task in same)]
        assert len(runs) == len(set(runs))
    seeds = [task.cell.seed for task in of_profile(CHAPTERS, "paper", "table2") if task.cell.dataset == "mnist"]
    assert seeds == sorted(seeds)
    assert set(seeds) == {0, 1, 2, 3, 4}


def test_a_table_is_an_experiment_with_one_network_whatever_the_profile_has():
    tasks = of_profile(CHAPTERS, "quick", "table3", {"layers": [-1]})
    assert [str(task) for task in tasks] == [
        f"layers/digits/resnet10/{part}/0" for part in ("classifier", "penultimate")
    ]
    for table, (experiment, architecture) in TABLES.items():
        found = of_profile(CHAPTERS, "paper", table)
        assert {(task.settings.experiment, task.cell.architecture) for task in found} == {(experiment, architecture)}
        assert {task.settings.record_name() for task in found} == {"paper"}


def test_a_change_goes_to_the_experiments_that_know_it():
    tasks = of_profile(CHAPTERS, "smoke", changes={"alphas": [0.5], "width": 0.25})
    assert [str(task.cell.part) for task in tasks if task.settings.experiment == "alpha"] == ["conv4 α=0.5"]
    assert {task.settings.width for task in tasks} == {0.25}


@pytest.mark.parametrize(
    ("only", "changes", "named", "valid"),
    [
        ("table9", {}, "'table9'", "table2"),
        ("theory", {}, "'theory'", "layers"),
        ("layers/digits/vgg11/conv9/0", {}, "'layers/digits/vgg11/conv9/0'", "layers/digits/vgg11/classifier/0"),
        ("layers", {"alphas": [0.5]}, "'alphas'", "layers"),
        (None, {"alpha": [0.5]}, "'alpha'", "alphas"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(only, changes, named, valid):
    with pytest.raises(UsageError) as caught:
        of_profile(CHAPTERS, "smoke", only, changes)
    assert named in str(caught.value)
    assert valid in str(caught.value)


def test_every_cell_has_a_name_by_which_it_can_be_trained_alone():
    tasks = of_profile(CHAPTERS, "smoke")
    assert len(set(map(str, tasks))) == len(tasks)
    for task in (tasks[0], tasks[-1]):
        assert of_profile(CHAPTERS, "smoke", str(task)) == [task]
