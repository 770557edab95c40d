"""Fingerprints in the records of whole runs: which classifier a cell explains, and which test images it shows."""

import pytest

from cladec_companion import papers
from cladec_companion.engine import runner
from cladec_companion.records.record import read_record
from cladec_companion.records.samples import INDEX, RunImages, fingerprint
from cladec_companion.records.settings import settings_for

FEW = {"train_limit": 64, "test_limit": 40}
CHAPTERS = {
    "layers": {"layers": [-1]}, "alpha": {"alphas": [0.5]}, "encoder_training": {"encoder_epochs": [0, 1]},
    "occlusion": {"layers": [-1]}, "subsets": {"sizes": [4]}, "controls": {"layers": [-1], "controls": ["sigmoid"]},
}  # fmt: skip


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_cell_says_what_it_explains_and_shows(name, tmp_path):
    chapter = papers.chapter(name)
    settings = settings_for(chapter.settings, "smoke", **FEW, **CHAPTERS[name])
    record = runner.run(chapter, settings, root=tmp_path, device="cpu", progress=False)
    found = read_record(record.folder)
    assert found.fingerprinted
    mark = fingerprint({INDEX: RunImages.of(found).index})
    kept = {cell: entry["images"] for cell, entry in found.cells.items()}
    without = {cell for cell, images in kept.items() if not images}
    assert all("slow" in cell for cell in without)  # of which only the accuracy is asked
    assert set(kept.values()) - {""} == {mark}
    unexplained = {cell for cell, entry in found.cells.items() if not entry["classifiers"]}
    assert all("RefAE" in cell for cell in unexplained)  # it knows no classifier
