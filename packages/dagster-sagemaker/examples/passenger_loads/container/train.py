"""Training job: learns the usual load by line, stop and hour. Needs dagster-pipes and boto3.

python train.py FOLDER_OF_SAGEMAKER
"""

import csv
import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import boto3
from dagster_pipes import PipesS3ContextLoader, PipesS3MessageWriter, open_dagster_pipes


def key(row: dict[str, str]) -> str:
    return "/".join(row[name] for name in ("line", "stop", "hour"))


def train(rows: list[dict[str, str]], weight: float) -> dict[str, float]:
    """The mean load by line, stop and hour. `weight` rows of the mean of all are added to each."""
    loads = defaultdict(list)
    for row in rows:
        loads[key(row)].append(float(row["load"]))
    overall = fmean(float(row["load"]) for row in rows)
    model = {name: (sum(each) + weight * overall) / (len(each) + weight) for name, each in loads.items()}
    return {**model, "overall": overall}


def error(model: dict[str, float], rows: list[dict[str, str]]) -> float:
    """The mean absolute error in passengers."""
    return fmean(abs(model.get(key(row), model["overall"]) - float(row["load"])) for row in rows)


def main(folder: Path) -> None:
    s3 = boto3.client("s3")
    with open_dagster_pipes(
        context_loader=PipesS3ContextLoader(s3), message_writer=PipesS3MessageWriter(s3, interval=2)
    ) as pipes:
        parameters = json.loads((folder / "input/config/hyperparameters.json").read_text())
        with (folder / "input/data/features/features.csv").open() as file:
            rows = list(csv.DictReader(file))
        first_test_day = sorted({row["date"] for row in rows})[-int(parameters["test_days"])]
        test = [row for row in rows if row["date"] >= first_test_day]
        model = train([row for row in rows if row["date"] < first_test_day], float(parameters["weight"]))
        mae, baseline = error(model, test), error({"overall": model["overall"]}, test)
        print(f"mae={mae:.3f}; baseline={baseline:.3f}", flush=True)
        (folder / "model/model.json").write_text(json.dumps(model))
        pipes.report_asset_materialization(
            metadata={"mae": mae, "mae_of_the_mean": baseline, "departures_tested": len(test)}
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
