"""Decisions of the Python SDK's samplers: decide.py SAMPLER RATIO... < ids > bytes."""

import sys

from opentelemetry.sdk.trace import _sampling_experimental as experimental
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased


def sampler(name, ratio):
    if name == "probability":
        return experimental.composite_sampler(experimental.composable_traceid_ratio_based(ratio))
    return TraceIdRatioBased(ratio)


data = sys.stdin.buffer.read()
ids = [int.from_bytes(data[i : i + 16], "big") for i in range(0, len(data), 16)]
for ratio in sys.argv[2:]:
    ask = sampler(sys.argv[1], float(ratio)).should_sample
    sys.stdout.buffer.write(bytes(ask(None, id, "").decision.is_sampled() for id in ids))
