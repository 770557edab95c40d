"""Claims S1 to S20 of the SRAE paper: orderings of its tables, and sentences that its numbers should carry."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise

import numpy as np
import pandas as pd

from cladec_companion.evidence import claims
from cladec_companion.evidence.claims import (
    EVERY,
    Claim,
    Comparison,
    Verdict,
    by_construction,
    judge,
    not_applicable,
    unprinted,
)
from cladec_companion.evidence.comparisons import ABOVE, BELOW, Region, certain, share
from cladec_companion.evidence.measurements import Place, evidence_of, where
from cladec_companion.papers.srae import printed as paper
from cladec_companion.papers.srae.baselines import CONSTANT, NO_PULL, NO_RECONSTRUCTION
from cladec_companion.papers.srae.concepts.limits import (
    ALMOST_MATCHING,
    CARRIES,
    KEEPS_CLASSES,
    LEARNT_MOSAICS,
    MUCH_LARGER,
    NO_BETTER,
    SIMILAR_TABLES,
    STILL_RECOGNISED,
)
from cladec_companion.papers.srae.concepts.titles import number, quantity, spoken
from cladec_companion.papers.srae.domain import MOSAICS
from cladec_companion.papers.srae.printed import KEYS, lasso_sizes, name
from cladec_companion.records.record import Record

ALL = "all"  # what the third level of a summary is: numbers are means over targets
METHODS = ("SRAE", "NN", "SAE", "Lasso", "CAE")
TABLE = {
    "f_reg_train": "F_reg, training", "f_reg": "F_reg, test", "f_cls_train": "F_cls, training", "f_cls": "F_cls, test",
    "o1": "O1", "o2": "O2", "locality": "locality",
}  # fmt: skip
GAMMAS = (1, 5, 10, 30)  # per cent
SHOWN = 5  # the γ of Table 2b
FEW = 10  # units: as many as x-features and again
TEST_EXAMPLES = 200 * (2_000 + 9)  # of CUB: 200 categories, 2,000 negatives and 8 to 10 positives each
BY_PRINT = "printed means without a spread"
HALF_UNIT = 0.00005  # of the four decimals of the tables


@dataclass(frozen=True)
class Evidence(claims.Evidence):
    """Numbers by place and method, with the accuracies of the classifiers that are explained.

    Attributes
    ----------
    accuracies
        Data set -> mean accuracy of the classifier; empty for the printed numbers.
    targets
        Place -> numbers by seed and target (rows) and method and metric (columns), NaN where a method that was run has
        none; empty for the printed numbers.
    features
        Of the methods that are compared: how many.
    """

    accuracies: dict[str, float] = field(default_factory=dict)
    targets: dict[Place, pd.DataFrame] = field(default_factory=dict)
    features: int = paper.FEATURES

    @property
    def places(self) -> list[Place]:
        """Where something was measured."""
        if self.summary.empty:
            return []
        return list(dict.fromkeys(self.summary.index.droplevel("metric")))

    def compare(
        self, place: Place, first: str, second: str, metric: str, claimed: Region = BELOW, *,
        offset: float = 0.0, log: bool = False, what: str = "",
    ) -> Comparison | None:  # fmt: skip
        """Compare a number of one method with that of another; see `weigh`."""
        weights = {name(first, metric): 1.0, name(second, metric): -1.0}
        what = what or f"{titled(place[0])}, {quantity(metric)}, {spoken(first)} less {spoken(second)}"
        return self.weigh(place, what, weights, claimed, offset=offset, log=log)

    def weigh(
        self, place: Place, what: str, weights: dict[str, float], claimed: Region, *, offset: float = 0.0,
        log: bool = False,
    ) -> Comparison | None:  # fmt: skip
        """Compare a weighted sum of numbers with a region.

        Each number is averaged over the targets that all of them have. None where one of them was not asked for; barred
        where the methods were run and no target has all of the numbers.
        """
        if self.record is None:
            cells = [(*place, column) for column in weights]
            if not self.has(*cells):
                return None
            means = np.array([self.summary.loc[cell, "mean"] for cell in cells])
            effect = float((np.log(means) if log else means) @ np.array(list(weights.values()))) + offset
            return certain(what, effect, claimed[0] < effect < claimed[1], BY_PRINT)
        table = self.targets.get(place)
        if table is None or not set(weights) <= set(table.columns):
            return None
        complete = table[list(weights)].dropna()
        if complete.empty:
            nothing = Comparison(what, np.nan, np.nan, np.nan, 0, claimed, 1.0, 1.0, "no value")
            return nothing.barred(f"{titled(place[0])}: no value of {' or of '.join(map(number, weights))}")
        of_cells = {(*place, column): weight for column, weight in weights.items()}
        source = self if len(complete) == len(table) else self._of(place, complete)
        found = source.contrast(what, of_cells, claimed, offset=offset, log=log)
        if gone := len(table) - len(complete):
            found = found.with_caveat(
                f"{what}: {gone} of {len(table)} targets and seeds have no value and are left out"
            )
        return self.barred(place, found)

    def _of(self, place: Place, numbers: pd.DataFrame) -> claims.Evidence:
        """Evidence of some columns alone, from the means over the targets that are given."""
        runs = numbers.groupby("seed").mean()
        runs.index = pd.MultiIndex.from_tuples([(*place, seed) for seed in runs.index], names=[*KEYS, "seed"])
        assert self.record is not None
        return evidence_of(self.record, runs, self.columns, known=self.known)

    def barred(self, place: Place, found: Comparison) -> Comparison:
        """The comparison, barred if the classifier has not learnt the mosaics."""
        accuracy = self.accuracies.get(place[0], 1.0)
        if place[0] in MOSAICS and accuracy < LEARNT_MOSAICS.value:
            why = f"a classifier with an accuracy of {accuracy:.2f} on the mosaics, below {LEARNT_MOSAICS.value}"
            return found.barred(why, too_short=True)
        return found


def titled(dataset: str) -> str:
    """Name of a data set, of the paper's too."""
    return paper.TITLES.get(dataset) or where((dataset, ""))


def printed() -> Evidence:
    """Tables 1, 3 and 4."""
    return Evidence(paper.summary())


def evidence(record: Record) -> Evidence:
    """What a record of the chapter measured: means over targets, by data set, network and seed.

    Methods with another number of x-features than the main one have it in their names: "SRAE 8", "Lasso 10".
    """
    rows = record.rows.astype({"value": float})
    of_classifier = rows[(rows["method"] == "classifier") & (rows["metric"] == "accuracy")]
    accuracies = of_classifier.groupby("dataset")["value"].mean().to_dict()
    main = record.manifest["configuration"].get("features", paper.FEATURES)
    chosen = rows[rows["method"] != "classifier"]
    if chosen["value"].notna().sum() == 0 or "features" not in chosen:
        return replace(printed(), summary=paper.summary().iloc[:0], record=record, accuracies=accuracies)
    features = chosen["features"].astype(int)
    methods = np.where(features.isin([0, main]), chosen["method"], chosen["method"] + " " + features.astype(str))
    named = chosen.assign(name=[name(*pair) for pair in zip(methods, chosen["metric"], strict=True)], explained=ALL)
    wide = named.pivot_table(index=[*KEYS, "seed"], columns="name", values="value", aggfunc="mean")
    pairs = zip(chosen["method"], chosen["metric"], strict=True)
    columns = dict(zip(named["name"], pairs, strict=True))
    found = evidence_of(record, wide, columns)
    targets = {place: _by_target(part) for place, part in named.groupby(KEYS)}
    return Evidence(found.summary, record, found.runs, found.columns, found.known, accuracies, targets, main)


def _by_target(named: pd.DataFrame) -> pd.DataFrame:
    """Numbers of a place by seed and target, those that are missing too."""
    return named.groupby(["seed", "target", "name"])["value"].mean().unstack("name")


Compare = Callable[[Evidence, Place], Iterable[Comparison | None]]


def decided(what: str, compare: Compare) -> Callable[[Evidence], Verdict]:
    """Decide a claim from the same comparisons at every place."""

    def decide(evidence: Evidence) -> Verdict:
        found = [one for place in evidence.places for one in compare(evidence, place) if one is not None]
        return judge(found, what, EVERY)

    decide.__doc__ = f"{what[0].upper()}{what[1:]}, in every data set."
    return decide


def pairs(firsts: Iterable[str], seconds: Iterable[str], metrics: Iterable[str], claimed: Region = BELOW) -> Compare:
    """Compare each of the first methods with each of the second ones."""
    firsts, seconds, metrics = tuple(firsts), tuple(seconds), tuple(metrics)

    def compare(evidence: Evidence, place: Place) -> Iterable[Comparison | None]:
        for metric in metrics:
            for first in firsts:
                for second in seconds:
                    yield evidence.compare(place, first, second, metric, claimed)

    return compare


def s1(evidence: Evidence, place: Place) -> Iterable[Comparison | None]:
    """NN is more faithful than SRAE, and SRAE than SAE."""
    for metric in ("f_reg_train", "f_reg"):
        yield evidence.compare(place, "NN", "SRAE", metric)
        yield evidence.compare(place, "SRAE", "SAE", metric)


def s2(evidence: Evidence, place: Place) -> Iterable[Comparison | None]:
    """Lasso and CAE err much more than SAE."""
    for method in ("Lasso", "CAE"):
        yield evidence.compare(
            place, method, "SAE", "f_reg", ABOVE, offset=-float(np.log(MUCH_LARGER.value)), log=True,
            what=f"{titled(place[0])}, log ratio of {method} and SAE less log {MUCH_LARGER.value:g}",
        )  # fmt: skip


def s3(evidence: Evidence, place: Place) -> Iterable[Comparison | None]:
    """F_cls of the three faithful methods.

    Of records it is the mean over examples of the class and over others, and means nothing where one and the same logit
    for all examples passes the limit as well.
    """
    kinds = ("f_cls",) if evidence.record is None else ("f_cls_own", "f_cls_others")

    def kept(method: str) -> Comparison | None:
        what = f"{titled(place[0])}, {method}"
        weights = {name(method, kind): 1 / len(kinds) for kind in kinds}
        return evidence.weigh(place, what, weights, (KEEPS_CLASSES.value, np.inf))

    constant = kept(CONSTANT)
    for method in ("SRAE", "NN", "SAE"):
        found = kept(method)
        if found and constant and constant.effect > KEEPS_CLASSES.value and not found.obstacle:
            found = found.barred(f"{titled(place[0])}: a constant keeps {constant.effect:.3f} of the classes, too")
        yield found


def s8(evidence: Evidence, place: Place) -> Iterable[Comparison | None]:
    """Locality of SRAE beside that of single units."""
    yield evidence.compare(place, "SRAE", "Z", "locality", (-np.inf, ALMOST_MATCHING.value))


def s10(evidence: Evidence, place: Place) -> Iterable[Comparison | None]:
    """Lasso with few units beside SRAE."""
    return lasso_beside_srae(evidence, place, FEW)


def s11(evidence: Evidence, place: Place) -> Iterable[Comparison | None]:
    """Lasso with any number of units beside SRAE; of printed tables CUB's alone, as it is said of birds only."""
    if evidence.record is None and place[0] != "cub":
        return ()
    return lasso_beside_srae(evidence, place)


def lasso_beside_srae(evidence: Evidence, place: Place, most: float = np.inf) -> Iterable[Comparison | None]:
    """Log ratio of F_reg of Lasso and of SRAE, for every selection of at most so many units."""
    offset = -float(np.log(MUCH_LARGER.value))
    said = f"{titled(place[0])}, log ratio of Lasso with {{}} units and SRAE less log {MUCH_LARGER.value:g}"
    if evidence.record is None:
        srae = evidence.summary.loc[(*place, "SRAE f_reg"), "mean"]
        for row in lasso_sizes(place[0]):
            if row["units"] <= most:
                effect = float(np.log(row["f_reg"] / srae)) + offset
                yield certain(said.format(row["units"]), effect, effect > 0, BY_PRINT)
        return
    for method, size in recorded_sizes(evidence, place).items():
        if size <= most:
            what = said.format(f"at most {size}")
            yield evidence.compare(place, method, "SRAE", "f_reg", ABOVE, offset=offset, log=True, what=what)


def recorded_sizes(evidence: Evidence, place: Place) -> dict[str, int]:
    """Names of Lasso's selections at a place of a record -> how many units each may have, rising."""
    found = {"Lasso": evidence.features}
    for column in evidence.targets[place].columns:
        method, size, *metric = column.split()
        if method == "Lasso" and size.isdecimal() and metric == ["f_reg"]:
            found[f"Lasso {size}"] = int(size)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def s12(evidence: Evidence) -> Verdict:
    """Accuracy of images masked by x-features less that of images masked by the logit's map, at every γ: above 0.

    Several maps together show more pixels than one. A control is told first, which does not decide: as many pixels of
    the logit's map.
    """
    control = [one.effect for one in _masked(evidence, "logit, equal area")]
    if not control:
        return judge(_masked(evidence, "logit"), "accuracy with x-features above that with the logit's map")
    # A page that cites the count alone has both of them.
    more = f"{sum(effect > 0 for effect in control)} of {len(control)} cases"
    what = f"accuracy with x-features above that with equally many pixels of the logit's map in {more} and with the map"
    shown = []
    for place in evidence.places:
        cells = [(*place, name(method, f"area_{SHOWN}")) for method in ("x-features", "logit")]
        if evidence.has(*cells):
            own, single = (evidence.summary.loc[cell, "mean"] for cell in cells)
            shown.append(f"{own:.0%} and {single:.0%} ({titled(place[0])})")
    return judge(_masked(evidence, "logit"), f"{what} as it is").plus(
        f"; with equally many pixels the accuracies differ by {min(control):+.3f} to {max(control):+.3f}, which "
        f"decides nothing; x-features and the logit's map show, at γ = {SHOWN} %, {', '.join(shown)} of the pixels"
    )


def _masked(evidence: Evidence, other: str) -> list[Comparison]:
    """Images masked by x-features beside images masked otherwise."""
    found = [
        evidence.compare(
            place, "x-features", other, f"masked_{gamma}", ABOVE, what=f"{titled(place[0])}, γ = {gamma} %"
        )
        for place in evidence.places for gamma in GAMMAS
    ]  # fmt: skip
    return [one for one in found if one is not None]


def s13(evidence: Evidence, place: Place) -> Iterable[Comparison | None]:
    """Accuracy falls from one γ to the next."""
    for method in ("x-features", "logit"):
        for lower, higher in pairwise(GAMMAS):
            weights = {name(method, f"masked_{lower}"): 1.0, name(method, f"masked_{higher}"): -1.0}
            what = f"{titled(place[0])}, {spoken(method)}, γ = {lower} % less γ = {higher} %"
            yield evidence.weigh(place, what, weights, ABOVE)


def s14(evidence: Evidence, place: Place) -> Iterable[Comparison | None]:
    """Accuracy lost where all but the highlighted pixels are masked at γ = 5 %."""
    weights = {name("original", "masked_0"): 1.0, name("x-features", "masked_5"): -1.0}
    what, claimed = f"{titled(place[0])}, accuracy lost", (-np.inf, STILL_RECOGNISED.value)
    yield evidence.weigh(place, what, weights, claimed)


def s15(evidence: Evidence, place: Place) -> Iterable[Comparison | None]:
    """Eight x-features beside five."""
    yield evidence.compare(
        place, "SRAE 8", "SRAE", "f_reg", ABOVE, offset=-float(np.log(1 - NO_BETTER.value)), log=True,
        what=f"{titled(place[0])}, log ratio of F_reg with 8 and with 5 x-features",
    )  # fmt: skip


def s16(evidence: Evidence, place: Place) -> Iterable[Comparison | None]:
    """One x-feature of NN carries the decision and none of SRAE's does; SRAE's tell parts apart."""
    for method, claimed in {"NN": (CARRIES.value, np.inf), "SRAE": (-np.inf, CARRIES.value)}.items():
        what = f"{titled(place[0])}, {quantity('carried')} of {method}"
        yield evidence.weigh(place, what, {name(method, "carried"): 1.0}, claimed)
    yield evidence.compare(place, "SRAE", "NN", "split", ABOVE)


def s17(evidence: Evidence) -> Verdict:
    """O1 and O2 of the maps of SRAE's x-features are below those without the pull-away term, in every data set.

    The term itself is told and decides nothing, as SRAE minimises it.
    """
    maps = decided("O1 and O2 of SRAE below those without the term", pairs(["SRAE"], [NO_PULL], ["o1", "o2"]))(evidence)
    found = [evidence.compare(place, "SRAE", NO_PULL, "pull_away") for place in evidence.places]
    term = by_construction("SRAE minimises it", [one for one in found if one is not None and not one.obstacle])
    return maps.plus(f"; that the pull-away term itself is smaller is {term.evidence}")


def s9(evidence: Evidence) -> Verdict:
    """More than nine in ten pairs of methods stand in the same order in both data sets, over all rows of the tables."""
    both = list({place[0]: place for place in reversed(evidence.places)}.values())[::-1][:2]
    if len(both) < 2:
        return judge([], "so", lacking="needs two data sets")
    same = []
    for metric in TABLE:
        for pair in combinations((*METHODS, "logit"), 2):
            found = [evidence.compare(place, *pair, metric) for place in both]
            effects = [one.effect for one in found if one is not None and np.isfinite(one.effect) and one.effect]
            if len(effects) == len(both):  # a tie has no order
                same.append(effects[0] * effects[1] > 0)
    if not same:
        return judge([], "so", lacking="needs two data sets")
    what = f"{' and '.join(titled(place[0]) for place in both)}, share of pairs in the same order"
    counted = share(what, sum(same), len(same), (SIMILAR_TABLES.value, 1.0), of="pairs")
    for place in both:
        counted = evidence.barred(place, counted)
    return judge([counted.with_caveat("pairs that share a method are not independent")], "alike")


def s19(evidence: Evidence) -> Verdict:
    """Lasso's columns in Tables 1 and 3 are those of Tables 2a and 5 at the same penalty (2.5, 15): arithmetic."""
    if evidence.record is not None:
        return not_applicable("printed tables are compared with each other")
    found = []
    for table, alphas, alpha in (
        ("srae_table1_cub", "srae_table2a_cub_lasso", 2.5), ("srae_table3_places", "srae_table5_places_lasso", 15)
    ):  # fmt: skip
        main, path = paper.published()[table], paper.published()[alphas]
        column, place = main["columns"].index("Lasso"), path["alpha"].index(alpha)
        for which, said in (("train", "training"), ("test", "test")):
            gap = round(main["F_reg"][which][column] - path["F_reg"][which][place], 4)
            what = f"Table {table.removeprefix('srae_table')[0]}, F_reg of {said} examples"
            found.append(certain(what, gap, abs(gap) < 0.005, "arithmetic"))
    return judge(found, "the same")


def s20(evidence: Evidence) -> Verdict:
    """The fewest switched labels that F_cls of Table 1 leaves, rounding included, are at most two: arithmetic."""
    if evidence.record is not None:
        return not_applicable("a sentence is compared with the printed table beside it")
    table = paper.published()["srae_table1_cub"]
    found = []
    for method in ("SRAE", "SAE"):
        kept = table["F_cls"]["test"][table["columns"].index(method)] + HALF_UNIT
        fewest = round((1 - kept) * TEST_EXAMPLES, 1)
        found.append(certain(f"{method}, labels of about {TEST_EXAMPLES:,}", fewest, fewest <= 2, "arithmetic"))
    return judge(found, "at most two")


PICTURES = unprinted("the paper shows pictures only")
SAID = unprinted("the paper prints no number for this sentence")
OTHERS = ("NN", "SAE", "Lasso")
_ON_MOSAICS = [
    Claim(
        "S1", "4.2, tables", "The regression error F_reg is lowest for NN, then SRAE, then SAE",
        decided("NN below SRAE below SAE in F_reg", s1),
    ),
    Claim(
        "S2", "4.2", "Lasso and CAE are far less faithful than SAE",
        decided("F_reg of Lasso and of CAE much above SAE's", s2), limits=(MUCH_LARGER,),
    ),
    Claim(
        "S3", "4.2", "SRAE, NN and SAE hardly ever change the predicted class",
        decided("F_cls of SRAE, NN and SAE above the limit (of records where no constant is)", s3),
        after_data="the limit, from the printed numbers", limits=(KEEPS_CLASSES,),
    ),
    Claim(
        "S4", "4.2", "The maps of SRAE's x-features are more orthogonal than those of NN, SAE and Lasso",
        decided("O1 and O2 of SRAE below those of NN, SAE and Lasso", pairs(["SRAE"], OTHERS, ["o1", "o2"])),
    ),
    Claim(
        "S5", "4.2", "Features of CAE are definitely more orthogonal than those of SRAE",
        decided("O1 and O2 of CAE below those of SRAE", pairs(["CAE"], ["SRAE"], ["o1", "o2"])),
    ),
    Claim(
        "S6", "4.2", "SRAE's x-features are more local than those of NN, SAE, Lasso and CAE",
        decided(
            "locality of SRAE below that of NN, SAE, Lasso and CAE", pairs(["SRAE"], [*OTHERS, "CAE"], ["locality"])
        ),
    ),
    Claim(
        "S7", "4.2", "SRAE's x-features are more local than excitation backprop of the logit",
        decided("locality of SRAE below that of the logit's map", pairs(["SRAE"], ["logit"], ["locality"])),
    ),
    Claim(
        "S8", "4.2", "The locality of x-features almost matches that of single units",
        decided("locality of SRAE at most slightly above that of single units", s8),
        after_data="the limit, from the printed numbers", limits=(ALMOST_MATCHING,),
    ),
    Claim("S9", "4.2", "The results on Places are similar to those on CUB", s9, limits=(SIMILAR_TABLES,)),
    Claim(
        "S10", "4.2", "Few units of Z from which the prediction follows faithfully are almost impossible to select",
        decided("F_reg of Lasso with at most ten units much above SRAE's", s10),
        after_data="the limit, from the printed numbers", limits=(MUCH_LARGER,),
    ),
    Claim(
        "S11", "4.2", "Lasso is unfaithful with different penalties",
        decided("F_reg of Lasso much above SRAE's, with every number of units", s11),
        after_data="the limit, from the printed numbers", limits=(MUCH_LARGER,),
    ),
    Claim(
        "S12", "4.2, I.2", "Images masked by x-features are recognised more often than by the logit's map, at every γ",
        s12,
    ),
    Claim("S13", "I.2", "With larger γ classification becomes more difficult", decided("accuracy falls with γ", s13)),
    Claim(
        "S14", "ours, after 4.2", "What the x-features highlight is almost a complete explanation of the decision",
        decided("accuracy lost at γ = 5 % below the limit", s14), after_data="the limit, from the printed numbers",
        limits=(STILL_RECOGNISED,),
    ),
    Claim(
        "S15", "4.2", "More than five x-features do not improve performance",
        SAID(decided("F_reg with 8 x-features not clearly below that with 5", s15)), limits=(NO_BETTER,),
    ),
    Claim(
        "S16", "2.2, I.3", "NN degenerates, as one x-feature carries the decision; SRAE avoids this",
        PICTURES(decided("the largest contribution above the limit in NN and below in SRAE, which splits more", s16)),
        limits=(CARRIES,),
    ),
    Claim(
        "S17", "2.2", "The pull-away term makes x-features more orthogonal",
        SAID(s17), after_data="that the maps decide, which had been told beside the term itself",
    ),
    Claim(
        "S18", "2.2", "The reconstruction improves locality",
        SAID(decided("locality of SRAE below that without it", pairs(["SRAE"], [NO_RECONSTRUCTION], ["locality"]))),
    ),
]  # fmt: skip
CLAIMS = [
    *(replace(claim, limits=(*claim.limits, LEARNT_MOSAICS)) for claim in _ON_MOSAICS),
    Claim("S19", "Tables 1-5", "Lasso's columns in the main tables are those of the tables over its penalty", s19),
    Claim("S20", "4.2", "Only one or two examples out of all have switched labels", s20),
]  # fmt: skip
