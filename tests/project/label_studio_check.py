"""Run by a Python that has label-studio-sdk: does it take our tasks and configuration, and what does it make of them?

`label_studio_check.py TASKS.json CONFIG.xml OUT` prints JSON with what it refuses, and writes OUT/result.json
(JSON-MIN) and OUT/result.csv.
"""

import json
import sys
from pathlib import Path

from label_studio_sdk.converter import Converter
from label_studio_sdk.label_interface import LabelInterface


def main(tasks_file: str, config_file: str, out: str) -> None:
    config = Path(config_file).read_text(encoding="utf-8")
    interface = LabelInterface(config)
    interface.validate()
    refused, checked = [], {"tasks": 0, "annotations": 0, "predictions": 0}
    for task in json.loads(Path(tasks_file).read_text(encoding="utf-8")):
        # Only the data: with the rest it calls a function of its own without an argument.
        checked["tasks"] += 1
        if not interface.validate_task({"data": task["data"]}):
            refused.append(["task", task["data"]])
        for annotation in task["annotations"]:
            checked["annotations"] += 1
            if not interface.validate_annotation(annotation):
                refused.append(["annotation", annotation])
        for prediction in task["predictions"]:
            checked["predictions"] += 1
            refused += [["prediction", error] for error in interface.validate_prediction(prediction, True)]
    converter = Converter(config, project_dir=None, download_resources=False)
    converter.convert_to_json_min(tasks_file, out, is_dir=False)
    converter.convert_to_csv(tasks_file, str(Path(out) / "result.csv"), is_dir=False, sep=",")
    classes = list(interface.get_control("label").labels)
    print(json.dumps({"refused": refused, "checked": checked, "classes": classes}))


if __name__ == "__main__":
    main(*sys.argv[1:])
