"""Calibrators: fitted, stored, applied to the same judge alone, and kept promises."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from letters import Letters, make_model
from scripted_pairs import (
    judgments_of,
    listing,
    make_pairs,
    number,
    run_action,
    writing,
)

from modelgraft.core.attempts import RunRecord
from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.options import flatten
from modelgraft.core.runs import open_run
from modelgraft.language.endpoints.exchange import Reply
from modelgraft.language.endpoints.scripted import ScriptedServer
from modelgraft.methods.judge.actions import calibrate, compare
from modelgraft.methods.judge.config import CalibrateConfig, CompareConfig
from modelgraft.methods.judge.config.asking import ExampleOptions
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.judges.calls import Verdict
from modelgraft.methods.judge.judges.chat import ChatJudge
from modelgraft.methods.judge.judges.local import ChoiceJudge
from modelgraft.methods.judge.judging.judgments import Asking, Judgment, pair_orders
from modelgraft.methods.judge.method.calibration import CALIBRATORS, OddsMap
from modelgraft.methods.judge.method.correction import (
    clustered_prediction_powered_mean,
    prediction_powered_mean,
)
from modelgraft.methods.judge.method.pairwise import calibrate_swaps
from modelgraft.methods.judge.prompts import read_template
from modelgraft.methods.judge.rubric import read_rubric
from modelgraft.methods.judge.trust.calibrating import Pairs, half_the_calls, orders_apart
from modelgraft.methods.judge.trust.calibrator import (
    GRID,
    Fitted,
    Identity,
    StoredCalibrator,
    applied,
    identity_of,
    load_calibrator,
    save_calibrator,
)
from modelgraft.methods.judge.trust.winning import win_rates
from modelgraft.methods.judge.trust.worth import Worth, first_test, one_of_each

CALIBRATOR = Path("artefacts") / "calibrator.json"


def sure(lead: float) -> float:
    """People who nearly always see the same lead as the judge."""
    return 1 / (1 + math.exp(-6 * lead))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A folder with items, a calibration run of a judge that likes the first slot, and its URL."""
    folder = tmp_path_factory.mktemp("calibrated")
    items = make_pairs(folder / "items.jsonl", 170, labelled=150)
    with ScriptedServer(listing(1.5, 3.0)) as server:
        judge = {"judge": f"{server.url}#m", "read": "logprobs"}
        config = CalibrateConfig(items=items, agreement=0.85, **judge)
        result = run_action(calibrate, config, folder / "run")
        yield folder, items, judge, result, server


# -- what is fitted --------------------------------------------------------------------------------


def test_what_the_first_slot_gains_is_found_and_taken_back_at_half_the_calls(fitted):
    _, _, _, result, _ = fitted
    assert number(result, "gain of the first slot (PriDe)").value == pytest.approx(1.5)
    assert number(result, "gain of the first slot (contextual)").value == pytest.approx(1.5)
    one = number(result, "one order less the prior agrees with the label")
    assert one.value == number(result, "both orders: agrees with the label").value > one.baseline


def pairs_of(gains: Sequence[float], contents: Sequence[float]) -> Pairs:
    """Pairs labelled for the first candidate whose first slot gains so much, in nats."""
    items, verdicts = [], []
    for n, (u, d) in enumerate(zip(gains, contents, strict=True)):
        item = Item(f"i{n}", f"q {n}", (Candidate("a", f"x {n}"), Candidate("b", f"y {n}")),
                    label="a")  # fmt: skip
        items.append(item)
        verdicts.append({
            order: [Verdict(item.id, order, ("A", "B", "C"), None, "ok", score=u + sign * d)]
            for order, sign in (((0, 1), 1), ((1, 0), -1))
        })  # fmt: skip
    return Pairs(items, verdicts, 0)


def test_the_prior_of_an_item_is_that_of_all_others():
    """A naive loop; with the prior of all items it would come to something else."""
    rng = np.random.default_rng(15)
    gains, contents = rng.normal(1, 3, 8), rng.normal(0.3, 1, 8)
    pairs = pairs_of(gains, contents)

    def share(priors: Sequence[float]) -> float:
        won = []
        for item, u, d, prior in zip(pairs.items, gains, contents, priors, strict=True):
            [order] = pair_orders(item, "random", seed=0)
            won.append((u + d > prior) if order == (0, 1) else (u - d < prior))
        return 100 * float(np.mean(won))

    others = [float(np.delete(gains, n).mean()) for n in range(8)]
    [found] = half_the_calls(pairs)
    assert found.value == pytest.approx(share(others)) != share([float(gains.mean())] * 8)
    assert found.baseline == pytest.approx(share([0.0] * 8))


def test_orders_apart_are_measured_on_items_the_map_was_not_fitted_to():
    rng = np.random.default_rng(0)
    first, second = rng.uniform(0.02, 0.98, (2, 12))
    clusters = [f"q{n // 2}" for n in range(12)]
    found = orders_apart(first, second, clusters, folds=6, seed=0)
    apart = []
    for n in range(12):
        rest = [m for m in range(12) if m // 2 != n // 2]
        swaps = calibrate_swaps(first[rest], second[rest])
        apart.append(abs(float(swaps(first[[n]])[0] + swaps(second[[n]])[0]) - 1))
    assert found == pytest.approx(np.mean(apart))
    swaps = calibrate_swaps(first, second)
    assert found > np.abs(swaps(first) + swaps(second) - 1).mean()


def test_win_rates_count_clusters_of_one_instruction():
    rng = np.random.default_rng(0)
    items, judgments = [], []
    for n, label in enumerate(np.repeat([*"ab"] * 15, 4).tolist()):
        item = Item(f"i{n}", f"q {n // 4}", (Candidate("a", "x"), Candidate("b", "y")),
                    label=label if n < 60 else None)  # fmt: skip
        winner = label if rng.random() < 0.8 else "ab"[label == "a"]
        items.append(item)
        judgments.append(Judgment(item.id, "", item.label, winner=winner))
    numbers, _ = win_rates(items, judgments)
    found = next(one for one in numbers if one.name.endswith("PPI++"))
    f = np.array([float(one.winner == "a") for one in judgments])
    y = np.array([float(one.label == "a") for one in items[:60]])
    places = [n // 4 for n in range(120)]
    expected = clustered_prediction_powered_mean(
        y, f[:60], f[60:], clusters=places[:60], unlabelled_clusters=places[60:]
    ).interval
    assert (found.low, found.high) == pytest.approx((100 * expected.low, 100 * expected.high))
    alone = prediction_powered_mean(y, f[:60], f[60:]).interval
    assert found.high - found.low > 110 * (alone.high - alone.low)


def test_calibrated_confidences_are_more_believable_than_those_that_are_stated(fitted):
    _, _, _, result, _ = fitted
    for name in ("NLL", "Brier score"):
        found = number(result, f"both orders: {name}")
        assert found.value < found.baseline and found.n == 150


def test_a_stored_calibrator_is_the_one_that_was_fitted(fitted):
    folder, _, _, _, _ = fitted
    stored = load_calibrator(folder / "run" / CALIBRATOR)
    rows = [row for row in judgments_of(folder / "run") if "label" in row]
    raw = np.array([max(row["probability"], 1 - row["probability"]) for row in rows])
    right = np.array([float(row["winner"] == row["label"]) for row in rows])
    own = CALIBRATORS[stored.both.method](raw, right)
    np.testing.assert_array_equal(stored.both.map(raw), own(raw))
    save_calibrator(folder / "again.json", stored)
    again = (folder / "again.json").read_bytes()
    assert again == (folder / "run" / CALIBRATOR).read_bytes()


def test_an_isotonic_map_is_stored_with_its_knots(tmp_path):
    found = calibrate_swaps([0.6, 0.9], [0.5, 0.2])
    fitted = Fitted("isotonic", found, "certified", 0.75)
    stored = load_calibrator(_written(tmp_path, fitted))
    np.testing.assert_array_equal(stored.both.map.values, found.values)
    assert stored.both.threshold == 0.75 and stored.one.threshold == np.inf


def _written(folder: Path, both: Fitted) -> Path:
    identity = Identity("m", "written", "", "t", "r", "fence", "given", "", 1, 0.0)
    path = folder / "calibrator.json"
    save_calibrator(path, StoredCalibrator(identity, 0.5, None, None, both, Fitted(), 9))
    return path


def test_plots_and_a_calibrator_are_kept_as_artefacts(fitted):
    _, _, _, result, _ = fitted
    kinds = {one.path.split("/")[-1]: one.kind for one in result.artefacts}
    assert kinds["risk-coverage.json"] == kinds["reliability-both-orders.json"] == "plot"
    assert {"calibrator.json", "judge.json", "judgments.jsonl", "verdicts.jsonl"} <= set(kinds)


def test_a_judge_that_goes_by_the_slot_alone_is_a_coin_after_pride(tmp_path):
    """Acceptance 6."""
    items = make_pairs(tmp_path / "items.jsonl", 120)
    with ScriptedServer(listing(slot=2.0, sharpness=0.0)) as server:
        config = CalibrateConfig(items=items, judge=f"{server.url}#m", read="logprobs")
        result = run_action(calibrate, config, tmp_path / "run")
    found = number(result, "one order less the prior agrees with the label")
    assert found.value == pytest.approx(50, abs=5)


def test_written_verdicts_are_sure_where_both_orders_agree_and_have_no_prior(tmp_path):
    items = make_pairs(tmp_path / "items.jsonl", 60)
    with ScriptedServer(writing(0.5)) as server:
        config = CalibrateConfig(items=items, judge=f"{server.url}#m", agreement=0.6)
        result = run_action(calibrate, config, tmp_path / "run")
    assert any("what the first slot gains is not known" in one for one in result.remarks)
    assert load_calibrator(tmp_path / "run" / CALIBRATOR).prior == 0.0
    assert number(result, "both orders: verdicts that stand").value > 30


# -- the promise -----------------------------------------------------------------------------------


def draw(rng: np.random.Generator, num: int) -> list[Judgment]:
    """Verdicts that are right less often than the judge believes."""
    p = rng.uniform(0.02, 0.98, num)
    right = rng.random(num) < 0.5 + 0.95 * np.abs(p - 0.5)
    return [
        Judgment(str(place), "", "a" if is_right == (one > 0.5) else "b",
                 winner="a" if one > 0.5 else "b", probability=float(one))
        for place, (one, is_right) in enumerate(zip(p, right, strict=True))
    ]  # fmt: skip


def test_certified_thresholds_keep_their_promise_over_draws_of_the_labels():
    """Acceptance 16 and 17: what stands errs above the promise in at most a tenth of the draws."""
    rng = np.random.default_rng(0)
    config = CalibrateConfig(agreement=0.75, confidence=0.9, calibrator="temperature")
    broken, certified = 0, 0
    for _ in range(100):
        worth = Worth.of("both", draw(rng, 240), [str(n) for n in range(240)], config, 0)
        threshold = worth.fitted.threshold
        if np.isfinite(threshold):
            # Right in 0.5 + 0.95 x, x uniform from threshold - 1/2 to 0.48.
            error = 1 - (0.5 + 0.95 * (max(threshold - 0.5, 0) + 0.48) / 2)
            broken += error > 0.25
            certified += 1
    assert certified > 50
    assert broken / 100 <= 0.1 + 2 * math.sqrt(0.1 * 0.9 / 100)


@pytest.mark.parametrize(("error", "few", "many"), [(0.12, 0, 17), (0.005, 60, 100)])
def test_certificates_of_groups_of_items_alike_keep_their_promise(error, few, many):
    """Where 20 items say one thing, a test that took them for 20 would be broken in 30 %."""
    rng = np.random.default_rng(0)
    config = CalibrateConfig(agreement=0.9, confidence=0.9, calibrator="temperature")
    clusters = [f"g{place // 20}" for place in range(600)]
    certified = 0
    for _ in range(100):
        wrong = np.repeat(rng.random(30) < error, 20)
        alike = [
            Judgment(str(n), "", "b" if one else "a", winner="a", probability=0.9)
            for n, one in enumerate(wrong)
        ]
        worth = Worth.of("both", alike, clusters, config, 0)
        certified += worth.certificate.status == "certified"
        assert worth.certificate.num == 30 and worth.num == 600
    assert few <= certified <= many
    assert any("certified on 30 of 600 labelled items" in one for one in worth.remarks)


def test_one_of_each_cluster_is_drawn_by_the_seed_alone():
    clusters = [f"g{place % 7}" for place in range(40)]
    drawn = one_of_each(clusters, 0)
    assert sorted(clusters[place] for place in drawn) == sorted(set(clusters))
    assert one_of_each(clusters, 0) == drawn != one_of_each(clusters, 1)
    assert one_of_each([str(n) for n in range(9)], 5) == list(range(9))


def test_verdicts_of_one_instruction_have_no_map_rather_than_an_end():
    for num_groups in (1, 2):
        clusters = [f"g{n % num_groups}" for n in range(60)]
        alike = [
            Judgment(str(n), "", "a" if n % 2 else "b", winner="a", probability=0.9)
            for n in range(60)
        ]
        worth = Worth.of("both", alike, clusters, CalibrateConfig(), 0)
        assert worth.fitted.map is None and "no map of confidences" in worth.remarks[0]


def test_too_few_labels_are_uncertifiable_and_their_number_is_told(tmp_path):
    items = make_pairs(tmp_path / "items.jsonl", 40, right=sure)
    with ScriptedServer(listing()) as server:
        judge = {"judge": f"{server.url}#m", "read": "logprobs"}
        config = CalibrateConfig(items=items, agreement=0.99, confidence=0.95, **judge)
        result = run_action(calibrate, config, tmp_path / "run")
        told = [one for one in result.remarks if "uncertifiable" in one]
        path = tmp_path / "run" / CALIBRATOR
        config = CompareConfig(items=items, calibrator=path, **judge)
        applied_to = run_action(compare, config, tmp_path / "compared")
    assert len(told) == 2 and "40 labels" in told[0] and "99 %" in told[0]
    assert number(applied_to, "abstained").value == 100
    assert all("winner" not in row for row in judgments_of(tmp_path / "compared"))


def test_the_first_test_has_what_could_pass_without_an_error():
    assert first_test(1000, 0.2, 0.1) == 100
    assert first_test(60, 0.2, 0.1) == 30
    assert first_test(12, 0.2, 0.1) == 11  # ln 0.1 / ln 0.8 = 10.3
    assert GRID[0] == 1.0 and GRID[-1] == 0.5 and len(GRID) == 26 and (np.diff(GRID) < 0).all()


# -- what it is applied to -------------------------------------------------------------------------


@pytest.mark.parametrize("swap", ["average", "random"])
def test_a_calibrator_makes_the_unsure_abstain_and_the_rest_right_as_promised(fitted, swap):
    folder, items, judge, _, _ = fitted
    path = folder / "run" / CALIBRATOR
    config = CompareConfig(items=items, calibrator=path, swap=swap, **judge)
    result = run_action(compare, config, folder / swap)
    rows = judgments_of(folder / swap)
    stored = load_calibrator(path)
    own = stored.both if swap == "average" else stored.one
    for row in rows:
        assert row["abstained"] != ("winner" in row)
        assert row["confidence"] == pytest.approx(max(row["probability"], 1 - row["probability"]))
        assert (row["confidence"] >= own.confidence(own.threshold) - 1e-9) != row["abstained"]
    assert 0 < number(result, "abstained").value < 100
    assert number(result, "agrees with the label").value >= 85
    assert number(result, "verdicts").value == len(rows) * (2 if swap == "average" else 1)


def test_both_orders_and_one_have_a_map_and_a_threshold_of_their_own():
    both, one = (Fitted("some", OddsMap(slope, slope, 0.0), "certified", threshold)
                 for slope, threshold in ((0.5, 0.7), (0.25, 0.9)))  # fmt: skip
    identity = Identity("m", "written", "", "t", "r", "fence", "given", "", 1, 0.0)
    stored = StoredCalibrator(identity, 0.5, None, None, both, one, 9)
    raw = Judgment("i", "", "a", winner="a", probability=0.8)
    for swap, odds, abstained in (("average", 2.0, False), ("random", 4**0.25, True),
                                  ("none", 4**0.25, True)):  # fmt: skip
        [found] = stored.apply([raw], swap)
        assert found.confidence == pytest.approx(odds / (1 + odds))
        assert found.abstained == abstained


@pytest.mark.parametrize("swap", ["average", "random"])
def test_mirrored_items_get_the_mirrored_calibrated_judgment(fitted, swap):
    """Acceptance 5."""
    folder, items, judge, _, _ = fitted
    rows = [json.loads(line) for line in items.read_text().splitlines()[:30]]
    one, other = ([dict(row) for row in rows] for _ in range(2))
    for row, turned in zip(one, other, strict=True):
        a, b = row["candidates"]
        row["candidates"] = [{"id": "a", "text": a}, {"id": "b", "text": b}]
        turned["candidates"] = row["candidates"][::-1]
    found = []
    for name, listed in (("one", one), ("other", other)):
        path = folder / f"{name}-{swap}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in listed))
        calibrator = folder / "run" / CALIBRATOR
        config = CompareConfig(items=path, calibrator=calibrator, swap=swap, **judge)
        run_action(compare, config, folder / f"run-{name}-{swap}")
        found.append(judgments_of(folder / f"run-{name}-{swap}"))
    for first, second in zip(*found, strict=True):
        assert first.get("winner") == second.get("winner")
        assert first["abstained"] == second["abstained"]
        assert first["probability"] == pytest.approx(1 - second["probability"])


@pytest.mark.parametrize("found", [OddsMap(0.4, 0.4, 0.3), calibrate_swaps([0.6, 0.9], [0.5, 0.2])])
def test_a_map_with_an_offset_is_mirrored_too(found):
    fitted = Fitted("some", found, "certified", 0.8)
    for p in (0.3, 0.7, 0.95):
        winner = "a" if p > 0.5 else "b"
        one = applied(Judgment("i", "", "a", winner=winner, probability=p), fitted)
        other = applied(Judgment("i", "", "a", winner=winner, probability=1 - p), fitted)
        assert one.winner == other.winner and one.confidence == pytest.approx(other.confidence)
        assert one.probability == pytest.approx(1 - other.probability)


def test_a_tie_claims_nothing_and_is_left_alone():
    tie = Judgment("i", "", "a", winner="tie", probability=0.5)
    assert applied(tie, Fitted("none", None, "uncertifiable")) is tie


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"rubric": "fluency"}, "rubric 'overall .*' there, 'fluency .*' here"),
        ({"template": "plain_pair"}, "template 'pair .*' there, 'plain_pair .*' here"),
        ({"hardening": "mark"}, "hardening 'fence' there, 'mark' here"),
    ],
)
def test_the_calibrator_of_another_question_is_refused_naming_both(fitted, changed, told):
    folder, items, judge, _, _ = fitted
    path = folder / "run" / CALIBRATOR
    config = CompareConfig(items=items, calibrator=path, **judge, **changed)
    with pytest.raises(ConfigError, match=told):
        run_action(compare, config, folder / f"refused-{next(iter(changed))}")


def test_the_calibrator_of_another_judge_is_refused(fitted):
    folder, items, _, _, server = fitted
    path = folder / "run" / CALIBRATOR
    config = CompareConfig(
        items=items, calibrator=path, judge=f"{server.url}#other", read="logprobs"
    )
    with pytest.raises(ConfigError, match="fitted to m logprobs, and other logprobs is asked"):
        run_action(compare, config, folder / "refused-judge")


def test_a_local_judge_is_known_by_its_weights_whatever_it_is_called():
    """Section 9: another tokenizer or chat template, or other weights, is another judge."""
    model = make_model()
    asking = Asking(read_template("pair"), read_rubric("overall"))
    config = CompareConfig(judge="tiny")
    ours, renamed, other = (
        identity_of(config, ChoiceJudge(one, Letters(), name=name), asking)
        for one, name in ((model, "one"), (model, "two"), (make_model(seed=1), "one"))
    )
    stored = StoredCalibrator(ours, 0.0, None, None, Fitted(), Fitted(), 9)
    stored.check(renamed)
    with pytest.raises(ConfigError, match=f"model '{ours.model}' there, '{other.model}' here"):
        stored.check(other)

    class Templated(Letters):
        chat_template = "{{ messages }}"

    templated = identity_of(config, ChoiceJudge(model, Templated(), name="one"), asking)
    with pytest.raises(
        ConfigError, match="it was fitted to one choice, and one choice is asked here: model"
    ):
        stored.check(templated)


def test_a_judge_that_draws_what_it_writes_is_another_at_another_temperature():
    asking = Asking(read_template("pair_written"), read_rubric("overall"))
    judge = ChatJudge(lambda requests: [], name="m")
    cold, warm = (
        identity_of(CompareConfig(judge="http://h/v1#m", temperature=one), judge, asking)
        for one in (0.0, 0.7)
    )
    stored = StoredCalibrator(cold, 0.0, None, None, Fitted(), Fitted(), 9)
    with pytest.raises(ConfigError, match=r"temperature 0\.0 there, 0\.7 here"):
        stored.check(warm)


def test_options_that_contradict_a_calibrator_are_refused():
    path = Path("calibrator.json")
    with pytest.raises(ConfigError, match="--swap consensus"):
        CompareConfig(calibrator=path, swap="consensus")
    with pytest.raises(ConfigError, match="--prior"):
        CompareConfig(calibrator=path, prior=1.0)
    with pytest.raises(ConfigError, match="--agreement 1: it lies between 0 and 1"):
        CalibrateConfig(agreement=1.0)


# -- a finished run --------------------------------------------------------------------------------


def test_the_verdicts_of_a_finished_run_are_taken_without_a_call(fitted):
    folder, items, judge, result, server = fitted
    config = CompareConfig(items=items, **judge)
    record = RunRecord(method="judge", action="compare", config=flatten(config))
    with open_run(folder / "compared", seed=0, record=record) as run:
        run.finish(compare(config, run))
    asked = server.counts()
    config = CalibrateConfig(run=folder / "compared", agreement=0.85)
    again = run_action(calibrate, config, folder / "from-run")
    assert server.counts() == asked
    ours, theirs = (load_calibrator(folder / name / CALIBRATOR) for name in ("from-run", "run"))
    assert ours.prior == theirs.prior and ours.identity == theirs.identity
    assert ours.both.map == theirs.both.map and ours.both.threshold == theirs.both.threshold
    name = "both orders: certified confidence"
    assert number(again, name).value == number(result, name).value


def _compared(folder: Path, config: CompareConfig) -> Path:
    record = RunRecord(method="judge", action="compare", config=flatten(config))
    with open_run(folder, seed=0, record=record) as run:
        run.finish(compare(config, run))
    return folder


@pytest.mark.parametrize("swap", ["synthesise", "align", "none", "random"])
def test_a_run_with_second_looks_or_one_order_is_refused(tmp_path, swap):
    items = make_pairs(tmp_path / "items.jsonl", 12)
    with ScriptedServer(writing(0.5)) as server:
        config = CompareConfig(items=items, judge=f"{server.url}#m", swap=swap)
        folder = _compared(tmp_path / "compared", config)
    with pytest.raises(InputError, match=f"made with --swap {swap}, .*\n.*average, consensus or"):
        run_action(calibrate, CalibrateConfig(run=folder), tmp_path / "run")


def test_a_run_that_showed_some_items_as_examples_is_judged_by_the_others(tmp_path):
    items = make_pairs(tmp_path / "items.jsonl", 40)
    with ScriptedServer(writing()) as server:
        examples = ExampleOptions(file=items, shots=4)
        config = CompareConfig(items=items, judge=f"{server.url}#m", examples=examples)
        folder = _compared(tmp_path / "compared", config)
    for name, given in (("own", None), ("again", items)):
        config = CalibrateConfig(run=folder, items=given)
        result = run_action(calibrate, config, tmp_path / name)
        assert number(result, "pairs").value == 36
        assert "4 items were not judged in compared: left out." in result.remarks
    other = tmp_path / "other.jsonl"
    other.write_text(items.read_text().replace('"id": "i', '"id": "j'))
    with pytest.raises(InputError, match="none of these 40 items was judged there"):
        run_action(calibrate, CalibrateConfig(run=folder, items=other), tmp_path / "other")


def test_a_run_that_is_none_is_told_so(tmp_path):
    config = CalibrateConfig(run=tmp_path)
    with pytest.raises(InputError, match="no such file; expected the config of a run"):
        run_action(calibrate, config, tmp_path / "run")


# -- bad input -------------------------------------------------------------------------------------


def test_items_without_labels_are_told_so(tmp_path):
    items = make_pairs(tmp_path / "items.jsonl", 30, labelled=4)
    config = CalibrateConfig(items=items, judge="http://127.0.0.1:1/v1#m")
    with pytest.raises(InputError, match=r'4 of 30 pairs have a label .*\n.*"label"'):
        run_action(calibrate, config, tmp_path / "run")


def test_a_judge_that_is_always_right_has_a_certificate_and_no_map(tmp_path):
    items = make_pairs(tmp_path / "items.jsonl", 60, right=lambda lead: float(lead > 0))
    with ScriptedServer(listing()) as server:
        config = CalibrateConfig(
            items=items, judge=f"{server.url}#m", read="logprobs", agreement=0.8
        )
        result = run_action(calibrate, config, tmp_path / "run")
    assert any("no map of confidences: 60 of 60" in one for one in result.remarks)
    assert number(result, "both orders: verdicts that stand").value == 100


def test_a_judge_worse_than_a_coin_is_corrected_by_nothing_and_said_so(tmp_path):
    """Section 9: q0 + q1 <= 1."""
    items = make_pairs(tmp_path / "items.jsonl", 60, labelled=40)
    with ScriptedServer(listing(sharpness=-2.0)) as server:
        config = CalibrateConfig(items=items, judge=f"{server.url}#m", read="logprobs")
        result = run_action(calibrate, config, tmp_path / "run")
    assert any("Rogan-Gladen: not measured" in one and "no better" in one
               for one in result.remarks)  # fmt: skip
    assert number(result, "win rate of the first candidate, PPI++").n == 40


@pytest.mark.parametrize("text", ['{"format": 2}', '{"format": 1, "prior": 0}', "[]"])
def test_a_file_that_is_no_calibrator_is_named(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"c\.json: this is no"):
        load_calibrator(path)


@pytest.mark.parametrize("text", ["[[C]]", "I would rather not say."])
def test_a_judge_that_never_decides_has_nothing_to_calibrate_and_is_counted(tmp_path, text):
    items = make_pairs(tmp_path / "items.jsonl", 12, labelled=10)
    with ScriptedServer(lambda request: Reply(text=text)) as server:
        config = CalibrateConfig(items=items, judge=f"{server.url}#m", agreement=0.8)
        result = run_action(calibrate, config, tmp_path / "run")
    assert any("no map of confidences: 0 of 0" in one for one in result.remarks)
    assert sum("uncertifiable" in one for one in result.remarks) == 2
    assert number(result, "both orders: labelled items without a winner").value == 10
