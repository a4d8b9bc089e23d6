"""Puts JSON values from stdin, each with a model's name, through the models of Mixpeek's SDK; prints what each kept."""

from __future__ import annotations

import json
import sys

import mixpeek  # type: ignore[import-not-found]

kept = []
for name, value in json.load(sys.stdin):
    model = getattr(mixpeek, name).from_dict(value)
    kept.append(model.to_dict())
json.dump(kept, sys.stdout, default=str)
